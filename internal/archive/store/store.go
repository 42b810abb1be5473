// Package store stores the files of an archive, in a directory or, with package bucket, in a bucket. A file exists either completely or not
// at all, and is durable once Put has returned.
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
)

// Place is where files are stored.
type Place interface {
	// Names returns the names of files that begin with a prefix, sorted.
	Names(ctx context.Context, prefix string) ([]string, error)
	// Read opens a file. It returns [ErrMissing] if the file does not exist.
	Read(ctx context.Context, name string) (io.ReadCloser, error)
	// Put creates a file, whose content write writes. When Put returns nil, the file is durable. If write
	// fails, there is no file.
	Put(ctx context.Context, name string, write func(io.Writer) error) error
	// Delete deletes a file, if it exists.
	Delete(ctx context.Context, name string) error
	Close() error
}

// Store has the files of an archive.
type Store struct {
	Place

	dir string
}

// New returns a store in a place that is not a directory.
func New(place Place) *Store { return &Store{Place: place} }

// Dir returns the directory; empty for a bucket.
func (s *Store) Dir() string { return s.dir }

// File describes a file as it was written.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// ErrMissing means that a file does not exist.
var ErrMissing = errors.New("is missing")

// Put creates a file, whose content write writes. The file is durable when Put returns.
func (s *Store) Put(ctx context.Context, name string, write func(io.Writer) error) (file File, err error) {
	file.Name = name
	counted := &counter{hash: sha256.New()}
	err = s.Place.Put(ctx, name, func(to io.Writer) error {
		counted.to = to
		return write(counted)
	})
	if err != nil {
		return file, fmt.Errorf("write %s: %w", name, err)
	}
	file.Bytes, file.SHA256 = counted.bytes, hex.EncodeToString(counted.hash.Sum(nil))
	return file, nil
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
		return fmt.Errorf("%s cannot be read, because it is truncated or was modified: %w", name, err)
	}
	return nil
}

// Check compares a file with its size and checksum when it was put.
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
	case now.Bytes > file.Bytes:
		return fmt.Errorf("%s was modified after it was written: it has %d bytes, and had %d", file.Name, now.Bytes, file.Bytes)
	case now.Bytes < file.Bytes:
		return fmt.Errorf("%s is truncated: it has %d bytes, and had %d when it was written", file.Name, now.Bytes, file.Bytes)
	case now.SHA256 != file.SHA256:
		return fmt.Errorf("%s was modified after it was written: its checksum differs", file.Name)
	}
	return nil
}

// Sum returns the size and checksum of a file.
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
