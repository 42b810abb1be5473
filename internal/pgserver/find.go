package pgserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MinMajor is the oldest major version of Postgres that Daymill works with.
const MinMajor = 14

// BinEnv is the environment variable that names the directory of the server's programs, to use another version than the one that Find
// would choose.
const BinEnv = "DAYMILL_PG_BIN"

// ErrNotFound is returned by Find if the machine has no Postgres server of version MinMajor or later.
var ErrNotFound = fmt.Errorf("there is no Postgres server (version %d or later) on this machine: install your system's package of it "+
	"(postgresql, postgresql-server), or name the directory of its programs in %s", MinMajor, BinEnv)

// Binaries are the programs of one installed Postgres server.
type Binaries struct {
	Dir     string // the directory of initdb, postgres and the other programs
	Version string // as the server prints it: 15.14, 18beta1
	Major   int    // 15, 18
}

func (b Binaries) program(name string) string { return filepath.Join(b.Dir, name) }

// Find returns the server's programs: those in the directory that DAYMILL_PG_BIN names, or else the newest on the machine. If there
// are none, it returns ErrNotFound.
func Find(ctx context.Context) (Binaries, error) {
	if dir := os.Getenv(BinEnv); dir != "" {
		found, err := At(ctx, dir)
		if err != nil {
			return Binaries{}, fmt.Errorf("%s: %w", BinEnv, err)
		}
		return found, nil
	}
	for _, dir := range directories(ctx) {
		if found, err := At(ctx, dir); err == nil {
			return found, nil
		}
	}
	return Binaries{}, ErrNotFound
}

// versionPattern matches what `postgres --version` prints: postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1).
var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

// At returns the programs in a directory, or an error if they cannot be used.
func At(ctx context.Context, dir string) (Binaries, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return Binaries{}, fmt.Errorf("there is no Postgres server in %s: %w", dir, err)
	}
	output, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("ask the Postgres in %s for its version: %w", dir, err)
	}
	match := versionPattern.FindSubmatch(output)
	if match == nil {
		return Binaries{}, fmt.Errorf("the Postgres in %s has no version that can be read: %q", dir, output)
	}
	major, err := strconv.Atoi(string(match[2]))
	if err != nil || major < MinMajor {
		return Binaries{}, fmt.Errorf("the Postgres in %s is version %s: %d or later is needed", dir, match[1], MinMajor)
	}
	return Binaries{Dir: dir, Version: string(match[1]), Major: major}, nil
}

// directories returns the directories where a server may be, best first.
func directories(ctx context.Context) []string {
	var dirs []string
	// Debian's initdb is not on the PATH, and on other systems the name may be a link or a wrapper. The programs look for each other in
	// their own directory, so resolve the real one.
	for _, name := range []string{"initdb", "postgres", "pg_ctl"} {
		if path, err := exec.LookPath(name); err == nil {
			if program, err := filepath.EvalSymlinks(path); err == nil {
				dirs = append(dirs, filepath.Dir(program))
			}
		}
	}
	if output, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(output)))
	}
	dirs = append(dirs, newestFirst("/usr/lib/postgresql/*/bin")...) // Debian
	dirs = append(dirs, newestFirst("/usr/pgsql-*/bin")...)          // Red Hat, from postgresql.org
	dirs = append(dirs, newestFirst("/opt/homebrew/opt/postgresql*/bin")...)
	dirs = append(dirs, newestFirst("/usr/local/opt/postgresql*/bin")...)
	dirs = append(dirs, newestFirst("/Applications/Postgres.app/Contents/Versions/*/bin")...)
	return slices.Compact(dirs)
}

var numberPattern = regexp.MustCompile(`\d+`)

// newestFirst expands a pattern and orders the paths by the first number in each.
func newestFirst(pattern string) []string {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	number := func(path string) int {
		n, _ := strconv.Atoi(numberPattern.FindString(path)) // A path without a number comes last.
		return n
	}
	slices.SortStableFunc(paths, func(a, b string) int { return number(b) - number(a) })
	return paths
}
