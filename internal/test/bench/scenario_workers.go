package main

import (
	"context"
	"time"

	"github.com/daymill/daymill/internal/date"
)

const backfillDays = 30

// workers compares a backfill by one worker process with the same backfill by two.
func workers(ctx context.Context, b *bench) (Result, error) {
	db, err := b.install(ctx, "workers")
	if err != nil {
		return Result{}, err
	}
	dates := make([]date.Date, 0, backfillDays)
	days := make([]dayOf, 0, backfillDays)
	for i := range backfillDays {
		dates = append(dates, largeDate().AddDays(i))
		days = append(days, dayOf{largeDate().AddDays(i), b.backfill, b.backfill / 4})
	}
	if err := db.fill(ctx, days...); err != nil {
		return Result{}, err
	}
	got := samples{}
	const alone, two, aloneUnpaced, twoUnpaced = "one worker", "two workers", "one worker, --pace 0", "two workers, --pace 0"
	take := func(name string, processes int, pace string) error {
		b.meter.step(name)
		one, err := b.backfills(ctx, db, dates, processes, pace)
		if err != nil {
			return err
		}
		got[name] = append(got[name], one)
		return db.exact(ctx, dates...)
	}
	for round := range b.rounds {
		turns := []func() error{
			func() error { return take(alone, 1, "1") },
			func() error { return take(two, 2, "1") },
			func() error { return take(aloneUnpaced, 1, "0") },
			func() error { return take(twoUnpaced, 2, "0") },
		}
		for i := range turns {
			if err := turns[(i+round)%len(turns)](); err != nil {
				return Result{}, err
			}
		}
	}
	size, err := db.size(ctx, largeDate())
	db.Close()
	return Result{
		Notes: []string{size + " on each of 30 dates, `--workers 1`, `--in-flight 8`. Time is from the backfill's start to its end, as Daymill records it."},
		Rows:  got.rows(alone, two, aloneUnpaced, twoUnpaced),
		Ratios: []Ratio{
			{ID: "workers.speedup", What: "one worker's time, against two workers', at the default pace", Value: got.ratio(wall, alone, two), Target: 1.7, AtLeast: true},
			{ID: "workers.unpaced", What: "one worker's time, against two workers', without pauses", Value: got.ratio(wall, aloneUnpaced, twoUnpaced), AtLeast: true},
		},
	}, err
}

// backfills measures one backfill of all dates, from an empty table.
func (b *bench) backfills(ctx context.Context, db *database, dates []date.Date, processes int, pace string) (sample, error) {
	if err := db.forget(ctx); err != nil {
		return nil, err
	}
	if err := db.exec(ctx, "CHECKPOINT -- before a turn"); err != nil {
		return nil, err
	}
	all := make([]*worker, 0, processes)
	for range processes {
		w, err := b.worker(ctx, db.url, "--workers", "1", "--pace", pace)
		if w != nil {
			defer w.kill()
		}
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	span := date.Range{First: dates[0], Last: dates[len(dates)-1]}
	if _, err := b.daymill(ctx, db.url, "backfill", "start", span.String(), "--in-flight", "8"); err != nil {
		return nil, err
	}
	var took float64
	err := await(ctx, 5*time.Minute, 20*time.Millisecond, func() (done bool, err error) {
		err = db.QueryRow(ctx, `SELECT state = 'complete', coalesce(extract(EPOCH FROM finished_at - requested_at), 0)::float8 * 1000
			FROM analytics.backfills ORDER BY id DESC LIMIT 1`).Scan(&done, &took)
		return done, err
	})
	if err != nil {
		return nil, err
	}
	var peak int64 // of the largest process
	for _, w := range all {
		peak = max(peak, w.stop())
	}
	return sample{wall: took}.with(peak), nil
}
