package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Full is the used share of a disk, in percent, from which on a check warns.
const Full = 80

// Directory opens a directory. The first file that is put into it creates it.
func Directory(path string) (*Store, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("open the archive's directory: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("%s is a file: name a directory for the archive", path)
	}
	return &Store{Place: directory(path), dir: path}, nil
}

// Subdirectories returns the names of a directory's subdirectories, with a slash at the end. A bucket has none.
func (s *Store) Subdirectories(dir string) (names []string, err error) {
	if s.dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the archive's directories: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, dir+entry.Name()+"/")
		}
	}
	return names, nil
}

// DeleteSubdirectory deletes a directory, with files that were not completed.
func (s *Store) DeleteSubdirectory(name string) error {
	if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// Used returns how full the disk of a directory is, in percent; false for a bucket.
func (s *Store) Used() (percent int, has bool) {
	var disk syscall.Statfs_t
	if s.dir == "" || syscall.Statfs(s.dir, &disk) != nil || disk.Blocks == 0 {
		return 0, false
	}
	return share(disk.Blocks-disk.Bfree, disk.Bavail), true
}

// share returns how much of a disk is used, in percent, as df counts it: blocks that are reserved for root are neither used nor available.
func share(used, available uint64) int {
	if used == 0 {
		return 0
	}
	return int((100*used + used + available - 1) / (used + available)) //nolint:gosec // At most a hundred.
}

type directory string

// Names walks the directory, while another process may write and remove files in it.
func (d directory) Names(_ context.Context, prefix string) (names []string, err error) {
	err = filepath.WalkDir(filepath.Join(string(d), filepath.Dir(prefix+"x")), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() || strings.HasSuffix(path, ".new") {
			return err
		}
		name, err := filepath.Rel(string(d), path)
		if err == nil && strings.HasPrefix(filepath.ToSlash(name), prefix) {
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the archive's files: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

func (d directory) Read(_ context.Context, name string) (io.ReadCloser, error) {
	file, err := os.Open(filepath.Join(string(d), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s %w", name, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return file, nil
}

func (d directory) Delete(_ context.Context, name string) error {
	if err := os.Remove(filepath.Join(string(d), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

func (directory) Close() error { return nil }

func (d directory) Put(_ context.Context, name string, write func(io.Writer) error) error {
	path := filepath.Join(string(d), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = write(file)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".new")) // The disk may be full.
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names of a directory durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open a directory: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync a directory: %w", err)
	}
	return nil
}
