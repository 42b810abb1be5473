// Package batch publishes the counts of a pass, in key order and one transaction per batch. It inserts new rows, updates rows
// that differ, deletes rows whose entity no longer has events on the date, and does not touch rows that are already right.
//
// It reads the stored rows in ranges of the primary key and compares them in Go instead of in a join. Reading needs no lock
// and no transaction, because a date has only one writer, which the fence in each batch's transaction ensures. A date that is
// already right costs only reads.
package batch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/telemetry"
)

// ErrTooLong is returned if an entity does not fit into an index.
var ErrTooLong = errors.New("an entity is longer than the 2,700 bytes or so that fit into an index of Postgres: use a shorter key, or " +
	"leave such rows out, as with `daymill source set … --where 'octet_length(ENTITY) <= 2000'`")

// ErrTooSlow is returned if even a batch of one row takes more than about thirteen seconds.
var ErrTooSlow = errors.New("one row of metrics cannot be written within thirteen seconds: another session locks the table or keeps the disk busy")

const (
	firstRows = 1_000
	// fewRows is how many rows a batch has at least, unless it takes seconds.
	fewRows = 250
	// mostRows limits how many stored rows are read, and how many rows are compared, at a time, and so the memory for them.
	mostRows = 25_000
	// mostChanges limits a batch. A transaction that commits after it waits for all of its WAL, some 1.5 MB: with 25,000
	// rows, the p99 of an application on the same server was a third higher.
	mostChanges = 5_000
	// far is the round trip from which on a batch may have as many changes as are compared at a time: its transaction takes three round trips, so
	// the application has long breaks from it.
	far = 5 * time.Millisecond
)

// Reader reads the stored rows of a date, and compares them with counted ones.
type Reader struct {
	Session *postgres.Session
	Type    entity.Type
	Pacer   *pace.Pacer
	Date    date.Date
	// Alive is called before each statement.
	Alive func() error
	// Counted, if not nil, gets the counted rows in parts, in key order, once they are compared, or published. It may not keep them.
	Counted func(rows []merge.Row)
	// Totals is what was counted, up to the last row that was compared or published.
	Totals Totals

	reads *pace.Size
}

// Publisher publishes a date for a run.
type Publisher struct {
	Reader

	// Listeners receive a signal for every batch of Run; may be empty.
	Listeners telemetry.Listeners
	Run       signal.Run
	// Advance moves the run's cursor in the batch's transaction, or fails if the run may not write any more. It is called
	// before anything is written.
	Advance func(ctx context.Context, queries *db.Queries, upTo entity.ID, totals Totals) error

	// Rows and Batches are what this publisher has written.
	Rows    figure.Rows
	Batches int

	writes *pace.Size
	// contested reports that somebody else wrote a row of the date after it was read: new rows are then no longer assumed to
	// be new.
	contested bool
}

// Publish makes the date's rows above after, and up to upTo if it is given, equal to the counted rows, which must ascend. It
// returns ctx's cause soon after ctx is done, once the current batch is committed.
func (p *Publisher) Publish(ctx context.Context, counted merge.Rows, after, upTo *entity.ID) error {
	return p.walk(ctx, counted, after, upTo, func(changes []change) error { return p.write(ctx, changes) })
}

// write writes the changes in batches.
func (p *Publisher) write(ctx context.Context, changes []change) error {
	if p.writes == nil {
		most := mostChanges
		if p.Session.RoundTrip() >= far {
			most = mostRows
		}
		p.writes = pace.NewSize(firstRows, 1, float64(most)).Floor(fewRows)
	}
	for len(changes) > 0 {
		if err := p.Alive(); err != nil {
			return err
		}
		size := min(len(changes), int(p.writes.Value()))
		took, err := p.writeBatch(ctx, changes[:size], p.writes.Limit())
		switch {
		case postgres.IsTimeout(err):
			telemetry.Tell(ctx, p.Listeners, signal.Batch{Run: p.Run, Outcome: signal.TimedOut, Took: took})
			if !p.writes.TimedOut(float64(size)) {
				return ErrTooSlow
			}
		case postgres.IsDuplicate(err) && !p.contested:
			p.contested = true
		case err != nil:
			return err
		default:
			p.Batches++
			p.writes.Took(float64(size), took)
			before := p.Rows
			p.Rows = p.Rows.Plus(count(changes[:size]))
			telemetry.Tell(ctx, p.Listeners, signal.Batch{
				Run: p.Run, Outcome: signal.Written, Took: took, Rows: p.Rows.Since(before),
			})
			p.Totals = changes[size-1].through
			changes = changes[size:]
		}
		if err := p.Pacer.Pause(ctx, took); err != nil {
			return err
		}
	}
	return nil
}

func count(changes []change) (rows figure.Rows) {
	for _, c := range changes {
		switch {
		case c.row == nil:
			rows.Deleted++
		case c.isNew:
			rows.Inserted++
		default:
			rows.Updated++
		}
	}
	return rows
}

// writeBatch writes a batch in one transaction: the fence and the cursor, then the rows.
func (p *Publisher) writeBatch(ctx context.Context, changes []change, limit time.Duration) (time.Duration, error) {
	rows := p.written(changes, !p.contested)
	return p.Pacer.Do(p.Session, func() error {
		return p.Session.Tx(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
			queries := db.New(on)
			last := changes[len(changes)-1]
			if err := p.Advance(ctx, queries, last.id, last.through); err != nil {
				return err
			}
			return tooLong(rows.write(ctx, queries))
		})
	})
}

// tooLong explains why rows could not be written.
func tooLong(err error) error {
	switch {
	case postgres.IsTooLong(err):
		return fmt.Errorf("%w: %w", ErrTooLong, err)
	case err != nil:
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

// rows collects the rows that a batch writes.
type rows struct {
	fresh   []db.MetricInsertParams
	changed db.MetricUpsertParams
}

// written returns the rows that changes write. It may assume that new rows are new.
func (p *Publisher) written(changes []change, assume bool) rows {
	r := rows{changed: db.MetricUpsertParams{MetricDate: p.Date}}
	none := []byte("{}")
	for _, c := range changes {
		switch {
		case c.row == nil:
			r.changed.GoneIds = append(r.changed.GoneIds, p.Type.Format(c.id))
		case c.isNew && assume:
			other := none
			if len(c.row.Other) > 0 {
				other = appendOther(nil, c.row.Other)
			}
			r.fresh = append(r.fresh, db.MetricInsertParams{
				EntityID: c.id, MetricDate: p.Date, ViewsCount: c.row.Views, ClicksCount: c.row.Clicks,
				SavesCount: c.row.Saves, SkipsCount: c.row.Skips, OtherCounts: other,
			})
		default:
			r.changed.EntityIds = append(r.changed.EntityIds, p.Type.Format(c.id))
			r.changed.ViewsCounts = append(r.changed.ViewsCounts, c.row.Views)
			r.changed.ClicksCounts = append(r.changed.ClicksCounts, c.row.Clicks)
			r.changed.SavesCounts = append(r.changed.SavesCounts, c.row.Saves)
			r.changed.SkipsCounts = append(r.changed.SkipsCounts, c.row.Skips)
			r.changed.OtherCounts = append(r.changed.OtherCounts, string(appendOther(nil, c.row.Other)))
		}
	}
	return r
}

func (r *rows) write(ctx context.Context, queries *db.Queries) error {
	if len(r.fresh) > 0 {
		if _, err := queries.MetricInsert(ctx, r.fresh); err != nil {
			return err
		}
	}
	if len(r.changed.EntityIds)+len(r.changed.GoneIds) > 0 {
		return queries.MetricUpsert(ctx, r.changed)
	}
	return nil
}
