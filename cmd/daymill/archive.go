package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/stream"
	"github.com/daymill/daymill/internal/capture/wal"
)

type archiveCmd struct {
	Init    archiveInitCmd    `cmd:"" help:"Begin an archive: create event triggers, a publication and a slot, and dump the database."`
	Run     archiveRunCmd     `cmd:"" help:"Write every transaction to the archive, until Ctrl-C."`
	Status  archiveStatusCmd  `cmd:"" help:"Report what the archive covers, and how much WAL its slot holds back."`
	Verify  archiveVerifyCmd  `cmd:"" help:"Compare the archive's segments with their checksums."`
	Restore archiveRestoreCmd `cmd:"" help:"Restore the archive into an empty database, up to its end, a time or a position."`
	Remove  archiveRemoveCmd  `cmd:"" help:"Remove the slot, the publication and the event triggers. The files stay."`
}

// archiveOption says where the archive is.
type archiveOption struct {
	Archive string `env:"DAYMILL_ARCHIVE" placeholder:"URL" help:"The directory of the archive: file:///backups/app."`
}

func (o archiveOption) path() (string, error) {
	if o.Archive == "" {
		return "", usagef("no archive is given: set DAYMILL_ARCHIVE or --archive, such as file:///backups/app")
	}
	if !strings.Contains(o.Archive, "://") {
		return o.Archive, nil
	}
	parsed, err := url.Parse(o.Archive)
	if err != nil || parsed.Scheme != "file" || parsed.Path == "" {
		return "", usagef("--archive is not a directory: write it as file:///backups/app")
	}
	return parsed.Path, nil
}

type archiveInitCmd struct{ archiveOption }

// Run begins an archive.
func (c *archiveInitCmd) Run(ctx context.Context, a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	db, err := a.open(ctx, "archive init")
	if err != nil {
		return err
	}
	defer db.Close()
	manifest, err := base.Init(ctx, db, a.DatabaseURL, path, a.clock().Now())
	if err != nil {
		return err
	}
	a.printf("the archive of %s begins at %s: run daymill archive run to continue it\n", manifest.Database, manifest.Base)
	return nil
}

type archiveRunCmd struct {
	archiveOption

	SegmentSize int64         `env:"DAYMILL_ARCHIVE_SEGMENT_SIZE" default:"67108864" help:"Bytes after which a segment is sealed and another one begins."`
	SegmentAge  time.Duration `env:"DAYMILL_ARCHIVE_SEGMENT_AGE" default:"5m" help:"Time after which a segment is sealed and another one begins."`
}

// Run writes transactions to the archive until it is told to stop.
func (c *archiveRunCmd) Run(ctx context.Context, a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	if c.SegmentSize < 1 || c.SegmentAge <= 0 {
		return usagef("--segment-size or --segment-age is too small: give values above 0")
	}
	db, err := a.open(ctx, "archive run")
	if err != nil {
		return err
	}
	defer db.Close()
	return stream.Run(ctx, stream.Config{
		Source: db, URL: a.DatabaseURL, Archive: path, Clock: a.clock(), Size: c.SegmentSize, Age: c.SegmentAge,
		Started: func() { a.logger().InfoContext(ctx, "archiving", slog.String("archive", c.Archive)) },
	})
}

type archiveStatusCmd struct{ archiveOption }

// Run reports what the archive covers.
func (c *archiveStatusCmd) Run(ctx context.Context, a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	manifest, err := base.Read(path)
	if err != nil {
		return err
	}
	files, err := segment.List(path)
	if err != nil {
		return err
	}
	writer, _, err := segment.Open(path, 0)
	if err != nil {
		return err
	}
	a.printf("database\t%s\nfrom\t%s, %s\nto\t%s\nsegments\t%d\n", manifest.Database, manifest.Base, manifest.CreatedAt.Format(time.RFC3339),
		segment.LSN(writer.To), len(files))
	db, err := a.open(ctx, "archive status")
	if err != nil {
		return err
	}
	defer db.Close()
	slot, has, err := wal.FindSlot(ctx, db, manifest.Slot)
	switch {
	case err != nil:
		return err
	case !has:
		return fmt.Errorf("%w: the slot %s is gone", stream.ErrGap, manifest.Slot)
	case !slot.Active:
		a.printf("slot\t%s, nobody reads it and it holds back %s bytes of WAL\n", manifest.Slot, number(slot.Retained))
	default:
		a.printf("slot\t%s, in use; it holds back %s bytes of WAL\n", manifest.Slot, number(slot.Retained))
	}
	return nil
}

type archiveVerifyCmd struct{ archiveOption }

// Run compares checksums.
func (c *archiveVerifyCmd) Run(_ context.Context, a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	manifest, err := base.Read(path)
	if err != nil {
		return err
	}
	files, err := segment.List(path)
	if err != nil {
		return err
	}
	if err := segment.Check(files, manifest.Base); err != nil {
		return err
	}
	a.printf("%d segments are complete and unchanged, and none is missing\n", len(files))
	return nil
}

type archiveRestoreCmd struct {
	archiveOption

	Into  string `required:"" placeholder:"URL" help:"The empty database to restore into. The role must be a superuser."`
	At    string `placeholder:"TIME|LSN" help:"Restore up to this time or position: 2026-11-28T06:20:00Z or 0/194F310. The archive's end by default."`
	Force bool   `help:"Restore into a database that is not empty."`
}

// Run restores the archive into a database.
func (c *archiveRestoreCmd) Run(ctx context.Context, a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	config := restore.Config{Archive: path, Into: c.Into, Force: c.Force, Progress: func(name string, done, all int) {
		a.errorf("segment %s, %d of %d\n", name, done+1, all)
	}}
	if c.At != "" {
		var errLSN error
		if config.Time, err = time.Parse(time.RFC3339Nano, c.At); err != nil {
			config.LSN, errLSN = pglogrepl.ParseLSN(c.At)
		}
		if err = errors.Join(errLSN); err != nil {
			return usagef("--at is neither a time such as 2026-11-28T06:20:00Z nor a position such as 0/194F310")
		}
	}
	result, err := restore.Run(ctx, config)
	if err != nil {
		return err
	}
	a.printf("restored %d transactions, up to %s\n", result.Transactions, segment.LSN(result.To))
	return nil
}

type archiveRemoveCmd struct{ archiveOption }

// Run removes the archive's slot, publication and event triggers from the database.
func (c *archiveRemoveCmd) Run(ctx context.Context, a *app) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	manifest, err := base.Read(path)
	if err != nil {
		return err
	}
	db, err := a.open(ctx, "archive remove")
	if err != nil {
		return err
	}
	defer db.Close()
	return base.Remove(ctx, db, manifest.Slot)
}
