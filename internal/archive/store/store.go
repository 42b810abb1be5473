// Package store keeps the files of an archive: in a directory, or in a bucket of S3, Google Cloud or Azure. A file is there as a whole
// or not at all, and durable once it has been put.
package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // The scheme azblob.
	"gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/gcsblob" // The scheme gs.
	_ "gocloud.dev/blob/s3blob"  // The scheme s3.
	"gocloud.dev/gcerrors"
)

// Store is where the files are.
type Store struct {
	bucket *blob.Bucket
	dir    string
}

// File is a file as it was put.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// ErrMissing means that a file is not there.
var ErrMissing = errors.New("is missing")

// schemes are those of buckets.
//
//nolint:gochecknoglobals // A list.
var schemes = []string{"s3", "gs", "azblob"}

// Open opens a directory (/backups/app, file:///backups/app) or a bucket (s3://bucket/app, gs://…, azblob://…), whose path is a prefix
// of names. A directory is made where it is not there.
func Open(ctx context.Context, location string) (*Store, error) {
	if !strings.Contains(location, "://") {
		location = "file://" + location
	}
	parsed, err := url.Parse(location)
	switch {
	case err != nil:
		return nil, errors.New("the archive's URL cannot be read: write it as file:///backups/app or s3://bucket/app")
	case parsed.Scheme == "file" && filepath.IsAbs(parsed.Path):
		return Directory(parsed.Path)
	case !slices.Contains(schemes, parsed.Scheme) || parsed.Host == "":
		return nil, errors.New("the archive is neither a directory nor a bucket: write it as file:///backups/app, s3://bucket/app, gs://bucket/app or azblob://container/app")
	}
	prefix := strings.Trim(parsed.Path, "/")
	parsed.Path = ""
	bucket, err := blob.OpenBucket(ctx, parsed.String())
	if err != nil {
		return nil, fmt.Errorf("open the archive's bucket: %w", err)
	}
	if prefix != "" {
		bucket = blob.PrefixedBucket(bucket, prefix+"/")
	}
	return &Store{bucket: bucket}, nil
}

// Directory opens a directory.
func Directory(path string) (*Store, error) {
	bucket, err := fileblob.OpenBucket(path, &fileblob.Options{CreateDir: true, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, fmt.Errorf("open the archive's directory: %w", err)
	}
	return &Store{bucket: bucket, dir: path}, nil
}

// Bucket is a store of a bucket.
func Bucket(bucket *blob.Bucket) *Store { return &Store{bucket: bucket} }

// Close closes it.
func (s *Store) Close() error {
	if err := s.bucket.Close(); err != nil {
		return fmt.Errorf("close the archive: %w", err)
	}
	return nil
}

// Full is from which share of a disk on, in percent, people are warned.
const Full = 80

// Used is how full the disk of a directory is, in percent; false for a bucket.
func (s *Store) Used() (percent int, has bool) {
	var disk syscall.Statfs_t
	if s.dir == "" || syscall.Statfs(s.dir, &disk) != nil || disk.Blocks == 0 {
		return 0, false
	}
	return int(100 - 100*disk.Bavail/disk.Blocks), true //nolint:gosec // At most 100.
}

// Dir is the directory; empty for a bucket.
func (s *Store) Dir() string { return s.dir }

// Names returns the names of files that begin with a prefix, sorted.
func (s *Store) Names(ctx context.Context, prefix string) (names []string, err error) {
	if s.dir != "" {
		return s.paths(prefix)
	}
	all := s.bucket.List(&blob.ListOptions{Prefix: prefix})
	for {
		object, err := all.Next(ctx)
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list the archive's files: %w", err)
		}
		names = append(names, object.Key)
	}
}

// paths are the names in a directory, in which another process may write and remove files meanwhile.
func (s *Store) paths(prefix string) (names []string, err error) {
	root := filepath.Join(s.dir, filepath.Dir(prefix+"x"))
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() || strings.HasSuffix(path, ".new") {
			return err
		}
		name, err := filepath.Rel(s.dir, path)
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

// Read opens a file. Its absence is [ErrMissing].
func (s *Store) Read(ctx context.Context, name string) (io.ReadCloser, error) {
	reader, err := s.bucket.NewReader(ctx, name, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, fmt.Errorf("%s %w", name, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return reader, nil
}

// Delete removes a file, where it is.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.bucket.Delete(ctx, name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// Put makes a file of what write writes. It is durable when Put returns.
func (s *Store) Put(ctx context.Context, name string, write func(io.Writer) error) (file File, err error) {
	file.Name = name
	counted := &counter{hash: sha256.New()}
	if s.dir != "" {
		err = s.putFile(name, counted, write)
	} else {
		err = s.putObject(ctx, name, counted, write)
	}
	if err != nil {
		return file, fmt.Errorf("write %s: %w", name, err)
	}
	file.Bytes, file.SHA256 = counted.bytes, hex.EncodeToString(counted.hash.Sum(nil))
	return file, nil
}

func (s *Store) putObject(ctx context.Context, name string, counted *counter, write func(io.Writer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	object, err := s.bucket.NewWriter(ctx, name, nil)
	if err != nil {
		return err
	}
	counted.to = object
	if err := write(counted); err != nil {
		cancel() // Nothing is written.
		_ = object.Close()
		return err
	}
	return object.Close()
}

func (s *Store) putFile(name string, counted *counter, write func(io.Writer) error) error {
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	counted.to = file
	err = write(counted)
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

// PutJSON writes a value.
func (s *Store) PutJSON(ctx context.Context, name string, value any) error {
	_, err := s.Put(ctx, name, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	})
	return err
}

// ReadJSON reads a value.
func (s *Store) ReadJSON(ctx context.Context, name string, into any) error {
	reader, err := s.Read(ctx, name)
	if err != nil {
		return err
	}
	defer reader.Close()
	if err := json.NewDecoder(reader).Decode(into); err != nil {
		return fmt.Errorf("%s cannot be read, it was torn or altered: %w", name, err)
	}
	return nil
}

// Check compares a file with what it was when it was put.
func (s *Store) Check(ctx context.Context, file File) error {
	reader, err := s.Read(ctx, file.Name)
	if err != nil {
		return err
	}
	defer reader.Close()
	now, err := Sum(file.Name, reader)
	switch {
	case err != nil:
		return err
	case now.Bytes != file.Bytes:
		return fmt.Errorf("%s is torn: it has %d bytes, and %d when it was written", file.Name, now.Bytes, file.Bytes)
	case now.SHA256 != file.SHA256:
		return fmt.Errorf("%s was altered after it was written: its checksum is another one", file.Name)
	}
	return nil
}

// Sum describes a file that is there already.
func Sum(name string, content io.Reader) (File, error) {
	counted := &counter{hash: sha256.New(), to: io.Discard}
	if _, err := io.Copy(counted, content); err != nil {
		return File{}, fmt.Errorf("read %s: %w", name, err)
	}
	return File{Name: name, Bytes: counted.bytes, SHA256: hex.EncodeToString(counted.hash.Sum(nil))}, nil
}

type counter struct {
	to    io.Writer
	hash  hash.Hash
	bytes int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	_, _ = c.hash.Write(p[:n]) // It never fails.
	c.bytes += int64(n)
	return n, err
}
