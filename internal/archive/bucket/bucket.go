// Package bucket opens the place of an archive: a directory, or a bucket of S3, Google Cloud or Azure. Only cmd imports it, because the
// clients of clouds are large.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // The scheme azblob.
	_ "gocloud.dev/blob/gcsblob"   // The scheme gs.
	_ "gocloud.dev/blob/s3blob"    // The scheme s3.
	"gocloud.dev/gcerrors"

	"github.com/daymill/daymill/internal/archive/store"
)

// schemes are the schemes of buckets' URLs.
//
//nolint:gochecknoglobals // A list.
var schemes = []string{"s3", "gs", "azblob"}

// Open opens a directory (/backups/app, file:///backups/app) or a bucket (s3://bucket/app, gs://…, azblob://…), whose path is a prefix
// of names.
func Open(ctx context.Context, location string) (*store.Store, error) {
	if filepath.IsAbs(location) {
		return store.Directory(location)
	}
	parsed, err := url.Parse(location)
	switch {
	case err != nil:
		return nil, errors.New("the archive's URL cannot be read: write it as file:///backups/app or s3://bucket/app")
	case parsed.Scheme == "file" && parsed.Host != "":
		return nil, fmt.Errorf("the archive's URL names the host %s: write file:///%s for a directory", parsed.Host, parsed.Host+parsed.Path)
	case parsed.Scheme == "file" && parsed.Opaque == "" && filepath.IsAbs(parsed.Path):
		return store.Directory(parsed.Path)
	case !slices.Contains(schemes, parsed.Scheme) || parsed.Host == "":
		return nil, errors.New("the archive is neither a directory nor a bucket: write it as file:///backups/app, s3://bucket/app, gs://bucket/app or azblob://container/app")
	}
	if err := before(ctx, parsed); err != nil {
		return nil, err
	}
	prefix := strings.Trim(parsed.Path, "/")
	parsed.Path = ""
	at, err := blob.OpenBucket(ctx, parsed.String())
	if err != nil {
		// The error has the URL, whose parameters may have a password.
		reason := strings.ReplaceAll(err.Error(), parsed.String(), parsed.Scheme+"://"+parsed.Host)
		return nil, errors.New("open the archive's bucket: " + strings.ReplaceAll(reason, parsed.RawQuery, "…"))
	}
	if err := opened(at); err != nil {
		return nil, errors.Join(err, at.Close())
	}
	if prefix != "" {
		at = blob.PrefixedBucket(at, prefix+"/")
	}
	return store.New(bucket{Bucket: at, scheme: parsed.Scheme, host: parsed.Host}), nil
}

type bucket struct {
	*blob.Bucket

	scheme, host string // of its URL
}

func (b bucket) Names(ctx context.Context, prefix string) (names []string, err error) {
	all := b.List(&blob.ListOptions{Prefix: prefix})
	for {
		object, err := all.Next(ctx)
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names, nil
		}
		if gcerrors.Code(err) == gcerrors.NotFound {
			return nil, fmt.Errorf("the archive's bucket %s does not exist: create it, or correct the archive's URL", b.host)
		}
		if err != nil {
			return nil, fmt.Errorf("list the archive's files: %w", b.explained(ctx, err))
		}
		names = append(names, object.Key)
	}
}

func (b bucket) Read(ctx context.Context, name string) (io.ReadCloser, error) {
	reader, err := b.NewReader(ctx, name, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, fmt.Errorf("%s %w", name, store.ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, b.explained(ctx, err))
	}
	return reader, nil
}

func (b bucket) Delete(ctx context.Context, name string) error {
	if err := b.Bucket.Delete(ctx, name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("delete %s: %w", name, b.explained(ctx, err))
	}
	return nil
}

func (b bucket) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	object, err := b.NewWriter(ctx, name, nil)
	if err != nil {
		return b.explained(ctx, err)
	}
	if err := write(object); err != nil {
		cancel() // Nothing is written.
		_ = object.Close()
		return err
	}
	if err := object.Close(); err != nil {
		return b.explained(ctx, err)
	}
	return nil
}
