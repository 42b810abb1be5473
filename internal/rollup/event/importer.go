package event

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/protection"
)

// ErrBadRows says that a file has more bad rows than allowed.
var ErrBadRows = errors.New("too many bad rows")

// Importer copies files into the target, each in its own transaction.
type Importer struct {
	DB      *postgres.DB
	Target  Target
	Options Options

	MaxErrors int64 // how many bad rows a file may have; they are skipped
	Chunk     int   // rows per COPY; DefaultChunk if 0
	DryRun    bool  // read and check all of a file, and write nothing

	// Bad is called for the first bad rows of a file, and Observe after every chunk. Both may be nil. Import never calls them at
	// the same time.
	Bad     func(*RowError)
	Observe func(Progress)

	keepAlive time.Duration // how often an idle transaction runs a statement; keepAliveEvery if 0
}

// keepAliveEvery is well below the minute after which the server ends an idle transaction.
const keepAliveEvery = 15 * time.Second

// Progress counts what was read of a file.
type Progress struct {
	Rows   int64 // read, including bad rows
	Bad    int64
	Stored int64 // bytes read of the file as it is stored, before decompression
}

// Report is the result of an import. If Import returns an error, the database has nothing of the file, and only the progress is
// valid.
type Report struct {
	Progress

	Imported int64
	Dates    []date.Date // of the events, earliest first; each of them is requested
}

func (i *Importer) chunkRows() int {
	if i.Chunk == 0 {
		return DefaultChunk
	}
	return i.Chunk
}

func (i *Importer) tooManyBad(progress Progress) error {
	return inputf("%w: %d of the first %d, and at most %d are allowed", ErrBadRows, progress.Bad, progress.Rows, i.MaxErrors)
}

// Import copies one file and requests a rollup of exactly its dates, in one transaction. The name is used to detect the format,
// and may be empty.
func (i *Importer) Import(ctx context.Context, name string, input io.Reader) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the reading
	var report Report
	err := i.DB.Tx(ctx, func(tx pgx.Tx) error {
		// A COPY may be slow because of the table's triggers and indexes, but should not wait long for a lock.
		settings := postgres.Local{"statement_timeout": "10min", "lock_timeout": "1min"}
		if i.DryRun {
			settings["transaction_read_only"] = "on"
		}
		if err := postgres.SetLocal(ctx, tx, settings); err != nil {
			return err
		}
		columns, err := i.Target.describe(ctx, tx, i.Options.EntityType)
		if err != nil {
			return err
		}
		dates := newTouched(db.New(tx))
		feed := newFeed(ctx, i, columns, name, input)
		for {
			c, err := feed.next(ctx, tx)
			if err != nil {
				return err
			}
			if c == nil {
				break
			}
			if err := i.take(ctx, tx, c, columns, dates, &report); err != nil {
				return err
			}
			feed.free <- c
		}
		report.Dates = dates.sorted()
		return i.finish(ctx, tx, report)
	})
	return report, err
}

// next returns the next chunk, or nil after the last. While it waits, such as for a program that writes to a pipe, it runs
// statements so that the server does not end the idle transaction.
func (f *feed) next(ctx context.Context, tx pgx.Tx) (*chunk, error) {
	every := f.importer.keepAlive
	if every == 0 {
		every = keepAliveEvery
	}
	alive := time.NewTicker(every)
	defer alive.Stop()
	for {
		select {
		case c := <-f.chunks:
			if c == nil {
				return nil, ctx.Err()
			}
			return c, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-alive.C:
			if _, err := tx.Exec(ctx, "SELECT 1"); err != nil {
				return nil, fmt.Errorf("keep the transaction alive: %w", err)
			}
		}
	}
}

// take copies a chunk into the table.
func (i *Importer) take(ctx context.Context, tx pgx.Tx, c *chunk, columns columns, dates *touched, report *Report) error {
	report.Progress = c.Progress
	if i.Bad != nil {
		for _, bad := range c.shown {
			i.Bad(bad)
		}
	}
	if c.err != nil {
		return c.err
	}
	for n := range c.events {
		if err := dates.add(ctx, c.events[n].At); err != nil {
			return err
		}
	}
	if !i.DryRun && len(c.events) > 0 {
		source := newCopySource(c.events, columns)
		_, err := tx.CopyFrom(ctx, i.Target.Table, i.Target.columns(), source)
		if err != nil {
			return i.copyError(err, c)
		}
	}
	report.Imported += int64(len(c.events))
	if i.Observe != nil {
		i.Observe(c.Progress)
	}
	return nil
}

func (i *Importer) copyError(err error, c *chunk) error {
	explained := i.Target.explain(err)
	if line, has := lineOf(err, c.events); has {
		return fmt.Errorf("line %d: the database refuses the row: %w", line, explained)
	}
	return fmt.Errorf("copy rows: %w", explained)
}

// finish requests the dates. A worker that listens begins as soon as the transaction commits.
func (i *Importer) finish(ctx context.Context, tx pgx.Tx, report Report) error {
	if report.Bad > i.MaxErrors {
		return i.tooManyBad(report.Progress)
	}
	if i.DryRun || len(report.Dates) == 0 {
		return nil
	}
	// enqueue_rollup would refuse future dates. These requests wait until their dates are over.
	err := db.New(tx).RequestAppend(ctx, db.RequestAppendParams{
		MetricDates: report.Dates, RequestedVia: "import", Priority: 1, MayLose: protection.LoseAll,
	})
	if err != nil {
		return fmt.Errorf("request the dates: %w", err)
	}
	return nil
}
