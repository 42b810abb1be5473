// Package apt gets what the tests and the demo need onto machines with apt-get: Postgres, PgBouncer, Chromium.
package apt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Lock is held by the one process that installs, until it calls what is returned. Processes that want the same thing at
// the same time (go test runs several) take turns, and those who waited find what the first one installed.
func Lock() (func(), error) {
	dir, err := CacheDir()
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "install.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("take the lock on installing: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("take the lock on installing: %w", err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// CacheDir is Daymill's directory in the user's cache, made where it is missing.
func CacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil { // A user without a home, as in many containers.
		base = os.TempDir()
	}
	dir := filepath.Join(base, "daymill")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the cache directory: %w", err)
	}
	return dir, nil
}

// command is how apt-get is run, where it exists and this process may install with it without asking anybody: under
// sudo, or as it is.
func command(ctx context.Context) ([]string, bool) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, false
	}
	if os.Geteuid() == 0 {
		return []string{"sh"}, true
	}
	if exec.CommandContext(ctx, "sudo", "-n", "true").Run() == nil {
		return []string{"sudo", "-n", "sh"}, true
	}
	return nil, false
}

// Available reports whether Install can be tried.
func Available(ctx context.Context) bool {
	_, ok := command(ctx)
	return ok
}

// script installs a package, from the lists that are there or, where it is not in them, from fresh ones. Packages of
// servers start them, and Postgres's makes a cluster to start: the two files that come and go here keep them from it.
const script = `
conf=/etc/postgresql-common/createcluster.d/daymill.conf
policy=/usr/sbin/policy-rc.d
[ ! -e "$policy" ] || policy=
trap 'rm -f "$conf" $policy' EXIT
mkdir -p "${conf%/*}" && echo "create_main_cluster = off" >"$conf" || exit
[ -z "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; } || exit

export DEBIAN_FRONTEND=noninteractive
get() { apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$1"; }
get "$1" || { apt-get -qq update && get "$1"; }
`

// Install installs a package. Before that it writes a line to out.
func Install(ctx context.Context, out io.Writer, name string) error {
	command, ok := command(ctx)
	if !ok {
		return errors.New("there is no apt-get here, or this user may not install with it")
	}
	fmt.Fprintf(out, "installing the package %s with apt-get\n", name)
	arguments := slices.Concat(command[1:], []string{"-c", script, "apt-get", name})
	output, err := exec.CommandContext(ctx, command[0], arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("install the package %s with apt-get: %w: %s", name, err, lastLines(output, 3))
	}
	return nil
}

// lastLines returns the last lines of a program's output as one line.
func lastLines(output []byte, count int) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "; ")
}
