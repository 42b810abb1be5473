package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account returns the user that the server runs as; nil means the user of this process. Postgres refuses to
// run as root, so for root it returns another user.
func account() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(found.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(found.Gid, 10, 32)
		if errUID == nil && errGID == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	const nobody = 65534
	return &syscall.Credential{Uid: nobody, Gid: nobody}
}

// attributes returns attributes with which a child runs as the server's user and does not receive the Ctrl-C for this process.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: account(), Setpgid: true}
}

// ownDir creates a directory that belongs to the server's user. It is temporary if no path is given, and in first if it can be.
func ownDir(path, first string) (string, error) {
	var err error
	if path == "" {
		path, err = tempDir(first)
	} else if path, err = filepath.Abs(path); err == nil {
		err = os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("make a directory for Postgres: %w", err)
	}
	if closed := closedAncestor(path); closed != "" && account() != nil {
		return "", fmt.Errorf("root cannot run Postgres, and the user that it runs as cannot access %s: "+
			"run `chmod o+x %s`, or give another directory", closed, closed)
	}
	return path, own(path)
}

// tempDir creates a temporary directory that the server's user can access, in the first place that lets it; "" is none.
func tempDir(first string) (string, error) {
	var errs []error
	for _, base := range []string{first, os.TempDir(), "/tmp", "/var/tmp"} {
		if base == "" {
			continue
		}
		if account() != nil && closedAncestor(filepath.Join(base, "x")) != "" {
			errs = append(errs, fmt.Errorf("%s is closed to other users", base))
			continue
		}
		dir, err := os.MkdirTemp(base, "daymill-pg-")
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// closedAncestor returns a directory above path that other users cannot access, or "".
func closedAncestor(path string) string {
	const passable = 0o001
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&passable == 0 {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// own gives a file or directory to the server's user.
func own(path string) error {
	as := account()
	if as == nil {
		return nil
	}
	if err := os.Chown(path, int(as.Uid), int(as.Gid)); err != nil {
		return fmt.Errorf("give %s to Postgres: %w", path, err)
	}
	return nil
}

// writeOwned writes a file that only the server's user can read, because Postgres refuses a key that others can read.
func writeOwned(path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("write for Postgres: %w", err)
	}
	return own(path)
}
