package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
)

// smallEvents is how many events each of the small dates has.
const smallEvents = 112

// small compares a worker with a loop of the plain statement, over many dates of about a hundred events each: first into empty tables, and then
// again with nothing changed.
func small(ctx context.Context, b *bench) (Result, error) {
	db, err := b.install(ctx, "small")
	if err != nil {
		return Result{}, err
	}
	dates, days := []date.Date{}, []dayOf{}
	for i := range b.small {
		d := largeDate().AddDays(i - b.small)
		dates, days = append(dates, d), append(days, dayOf{d, smallEvents, 80})
	}
	if err := db.fill(ctx, days...); err != nil {
		return Result{}, err
	}
	const ofLoop, again = "the statement in a loop", ", again"
	got := samples{}
	for round := range b.rounds {
		turns := []func() error{
			func() error { return b.smallWorker(ctx, db, dates, got, ofDaymill, again, "0") },
			func() error { return b.smallWorker(ctx, db, dates, got, ofDaymill+", default pace", again, "1") },
			func() error { return b.smallLoop(ctx, db, dates, got, ofLoop, again) },
		}
		for i := range turns {
			if err := turns[(i+round)%len(turns)](); err != nil {
				return Result{}, err
			}
		}
	}
	paced := ofDaymill + ", default pace"
	return Result{
		Notes: []string{fmt.Sprintf("%d dates of %d events; a worker with `--workers 2 --pace 0`, or the default pace, that finds the requests of all of them, "+
			"against one connection that runs the statement for one date after another. Then the same again with nothing changed.", b.small, smallEvents)},
		Rows: got.rows(ofDaymill, paced, ofLoop, ofDaymill+again, paced+again, ofLoop+again),
		Ratios: []Ratio{
			{ID: "small.first", What: "time, against the loop's", Value: got.ratio(wall, ofDaymill, ofLoop), Target: 1.2},
			{ID: "small.again", What: "time with nothing changed, against the loop's", Value: got.ratio(wall, ofDaymill+again, ofLoop+again), Target: 0.6},
			{ID: "small.paced", What: "time at the default pace, against the loop's", Value: got.ratio(wall, paced, ofLoop)},
		},
	}, nil
}

// smallWorker measures how long a worker takes for all dates, into an empty table and again.
func (b *bench) smallWorker(ctx context.Context, db *database, dates []date.Date, got samples, name, again, pace string) error {
	b.meter.step(name)
	if err := db.forget(ctx); err != nil {
		return err
	}
	w, err := b.worker(ctx, db.url, "--workers", "2", "--pace", pace)
	if w != nil {
		defer w.kill()
	}
	if err != nil {
		return err
	}
	for _, turn := range []string{name, name + again} {
		if err := db.exec(ctx, "CHECKPOINT"); err != nil {
			return err
		}
		began := now()
		if err := db.exec(ctx, "SELECT analytics.enqueue_rollup($1, $2)", dates[0], dates[len(dates)-1]); err != nil {
			return err
		}
		err := await(ctx, 10*time.Minute, 10*time.Millisecond, func() (done bool, err error) {
			err = db.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)").Scan(&done)
			return done, err
		})
		if err != nil {
			return err
		}
		got[turn] = append(got[turn], sample{wall: milliseconds(now().Sub(began))})
	}
	return db.exact(ctx, dates...)
}

// smallLoop measures the same of a loop over the plain statement.
func (b *bench) smallLoop(ctx context.Context, db *database, dates []date.Date, got samples, name, again string) error {
	b.meter.step(name)
	if err := db.exec(ctx, "TRUNCATE public.one"); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, db.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, turn := range []string{name, name + again} {
		if err := db.exec(ctx, "CHECKPOINT"); err != nil {
			return err
		}
		began := now()
		for _, d := range dates {
			if _, err := conn.Exec(ctx, statementSQL(d, within(d)), pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
		}
		got[turn] = append(got[turn], sample{wall: milliseconds(now().Sub(began))})
	}
	return nil
}
