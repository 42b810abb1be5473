package main

import (
	"context"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/restore"
)

type archiveRestoreCmd struct {
	identityOption

	Into  string  `required:"" placeholder:"URL" help:"The database to restore into: empty, or with a restore that was interrupted. The role must be a superuser."`
	At    *string `placeholder:"TIME|LSN" help:"Restore up to this time or position, such as 2026-11-28T06:20:00Z or 0/194F310; the archive's end by default."`
	Jobs  int     `default:"1" help:"How many parts of the base to restore at a time."`
	Force bool    `help:"Restore into a database that is not empty."`
}

// Run restores the archive into a database.
func (c *archiveRestoreCmd) Run(ctx context.Context, a *app) error {
	if c.Jobs < 1 {
		return usagef("--jobs is %d: give at least 1", c.Jobs)
	}
	if c.Into == "" {
		return usagef("--into is empty: give the URL of the database to restore into")
	}
	codec, err := c.codec()
	if err != nil {
		return err
	}
	place, err := a.openArchive(ctx)
	if err != nil {
		return err
	}
	defer place.Close()
	config := restore.Config{Store: place, Codec: codec, Into: c.Into, Force: c.Force, Jobs: c.Jobs, Checking: a.checking, Progress: a.parts}
	if c.At != nil {
		if config.Target, err = target(*c.At); err != nil {
			return err
		}
	}
	result, err := restore.Run(ctx, config)
	if err != nil {
		return err
	}
	a.printf("restored the base %s and %s, up to %s\n", result.Base, plural(int64(result.Transactions), "transaction"), result.To)
	return nil
}

// target reads the value of --at.
func target(at string) (target chain.Target, err error) {
	if target.Time, err = time.Parse(time.RFC3339Nano, at); err == nil {
		return target, nil
	}
	if target.LSN, err = pglogrepl.ParseLSN(at); err != nil {
		return target, usagef("--at is %q, which is neither a time such as 2026-11-28T06:20:00Z nor a position such as 0/194F310: leave it out to restore everything", at)
	}
	target.LSN = max(target.LSN, 1) // Zero would mean the end.
	return target, nil
}

// waiting says what a proof waits for.
func (a *app) waiting(position string, archiving bool) {
	if archiving {
		a.errorf("waiting until the archive has reached %s\n", position)
		return
	}
	a.errorf("waiting until the archive has reached %s: no process archives the database, so start daymill archive run, or a worker with DAYMILL_ARCHIVE\n", position)
}

// checking says that files are compared with their checksums.
func (a *app) checking(files int, bytes int64) {
	a.errorf("comparing %s, %s bytes, with their checksums\n", plural(int64(files), "file"), number(bytes))
}

// parts shows the progress of a restore.
func (a *app) parts(name string, done, all int) { a.errorf("%s, %d of %d\n", name, done, all) }
