// Package demo makes up an event history that looks like that of a small application: a weekly and a daily rhythm, growth, a
// few entities that everybody looks at and many that hardly anyone does, and events that arrive days late.
package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// ErrNotEmpty says that the table already has events.
var ErrNotEmpty = errors.New("public.raw_events has events already, and the demo would mix made-up ones in: " +
	"give it an empty database")

// History says which events to make up.
type History struct {
	Dates    date.Range
	Events   int // on an ordinary date
	Entities int
}

// Check returns ErrNotEmpty if public.raw_events has events.
func Check(ctx context.Context, conn *postgres.DB) error {
	var occupied bool
	err := conn.QueryRow(ctx, "SELECT EXISTS(SELECT FROM public.raw_events)").Scan(&occupied)
	if postgres.IsMissing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for events: %w", err)
	}
	if occupied {
		return ErrNotEmpty
	}
	return nil
}

// fillSQL makes up the events of one date: $1 is the date, $2 the number of events, $3 the number of entities. A few entities get
// most events, and most events are in the early evening.
const fillSQL = `
INSERT INTO public.raw_events (entity_id, event_type, created_at)
SELECT
	1 + floor(power(random(), 3) * $3::integer)::bigint,
	(ARRAY['view', 'view', 'view', 'view', 'view', 'view', 'view', 'click', 'click', 'save', 'skip', 'share'])
		[1 + floor(random() * 12)::integer],
	b.first + (b.last - b.first) * least(0.999999, greatest(0, 0.28 + (random() + random() + random()) * 0.24))
FROM generate_series(1, $2::integer),
	(SELECT analytics.date_start($1::date), analytics.date_start($1::date + 1)) AS b (first, last)`

// Fill makes up the events of every date, oldest first, and returns how many. Apart from the dates, the history is the same each
// time. After each date, Fill calls progress.
func Fill(ctx context.Context, conn *postgres.DB, history History, progress func(d date.Date)) (int64, error) {
	var total int64
	for d := history.Dates.First; !d.After(history.Dates.Last); d = d.AddDays(1) {
		i := d.Sub(history.Dates.First)
		err := conn.Tx(ctx, func(tx pgx.Tx) error {
			if err := postgres.SetLocal(ctx, tx, patient()); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "SELECT setseed($1)", float64(i%1000)/1000); err != nil {
				return err
			}
			tag, err := tx.Exec(ctx, fillSQL, d, volume(history, d), history.Entities)
			total += tag.RowsAffected()
			return err
		})
		if err != nil {
			return total, fmt.Errorf("make up the events of %s: %w", d, err)
		}
		progress(d)
	}
	if _, err := conn.Exec(ctx, "ANALYZE public.raw_events"); err != nil {
		return total, fmt.Errorf("analyze: %w", err)
	}
	return total, nil
}

// patient allows a statement that reads or writes the whole history, on a slow machine, to take longer than those of runs may.
func patient() postgres.Local { return postgres.Local{"statement_timeout": "5min"} }

// Sums counts all events, and adds up all counts: the two should be equal.
func Sums(ctx context.Context, conn *postgres.DB) (sums db.DemoSumsRow, err error) {
	err = conn.Tx(ctx, func(tx pgx.Tx) error {
		if err := postgres.SetLocal(ctx, tx, patient()); err != nil {
			return err
		}
		sums, err = db.New(tx).DemoSums(ctx)
		return err
	})
	if err != nil {
		return sums, fmt.Errorf("check the sums: %w", err)
	}
	return sums, nil
}

// volume returns the number of events of a date: fewer at weekends, and a third more at the end than at the beginning.
func volume(history History, d date.Date) int {
	weekday := map[time.Weekday]float64{time.Monday: 1.1, time.Friday: 0.9, time.Saturday: 0.55, time.Sunday: 0.7}
	factor, special := weekday[d.Weekday()]
	if !special {
		factor = 1
	}
	growth := 1 + float64(d.Sub(history.Dates.First))/float64(history.Dates.Len())/3
	return int(float64(history.Events) * factor * growth)
}

// Late adds events to complete dates, and requests the dates in the same transaction, as an application's import does. It returns
// the dates.
func Late(ctx context.Context, conn *postgres.DB, history History, events int) ([]date.Date, error) {
	var dates []date.Date
	for _, daysAgo := range []int{3, 8, 20} {
		if d := history.Dates.Last.AddDays(-daysAgo); !d.Before(history.Dates.First) {
			dates = append(dates, d)
		}
	}
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		if err := postgres.SetLocal(ctx, tx, patient()); err != nil {
			return err
		}
		for _, d := range dates {
			if _, err := tx.Exec(ctx, fillSQL, d, events, history.Entities); err != nil {
				return fmt.Errorf("add late events to %s: %w", d, err)
			}
			if _, err := tx.Exec(ctx, "SELECT analytics.enqueue_rollup($1)", d); err != nil {
				return fmt.Errorf("ask for %s: %w", d, err)
			}
		}
		return nil
	})
	return dates, err
}
