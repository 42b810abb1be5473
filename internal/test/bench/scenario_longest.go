package main

import (
	"context"

	"github.com/daymill/daymill/internal/date"
)

// The two days of [bench.many]: the second has ten times the events and entities of the first.
func tenthDate() date.Date { return largeDate().AddDays(6) }
func manyDate() date.Date  { return largeDate().AddDays(7) }

// many returns the database of the long runs, with a day and one of ten times the size. It fills the database once.
func (b *bench) many(ctx context.Context) (*database, error) {
	if b.ten != nil {
		return b.ten, nil
	}
	db, err := b.install(ctx, "many")
	if err != nil {
		return nil, err
	}
	n := b.tenth()
	if err := db.fill(ctx, dayOf{tenthDate(), n, n / 10}, dayOf{manyDate(), 10 * n, n}); err != nil {
		return nil, err
	}
	b.ten = db
	return db, nil
}

func longest(ctx context.Context, b *bench) (Result, error) {
	db, err := b.large(ctx)
	if err != nil {
		return Result{}, err
	}
	got, names := samples{}, []string{}
	take := func(db *database, d date.Date) error {
		size, err := db.size(ctx, d)
		if err != nil {
			return err
		}
		names = append(names, size)
		if before := b.firsts[size]; len(before) > 0 { // An earlier scenario has measured it, and it was exact.
			got[size] = before
			return nil
		}
		for range b.rounds {
			b.meter.step(size)
			one, err := db.turn(ctx, b.rolls(db, d, "0", db.forget), db.url)
			if err != nil {
				return err
			}
			got[size] = append(got[size], one)
		}
		return db.exact(ctx, d)
	}
	for _, d := range []date.Date{tinyDate(), pagesDate(), fewDate(), largeDate()} {
		if err := take(db, d); err != nil {
			return Result{}, err
		}
	}
	if b.large10 {
		db, err := b.many(ctx)
		if err != nil {
			return Result{}, err
		}
		if err := take(db, manyDate()); err != nil {
			return Result{}, err
		}
	}
	result := Result{Notes: []string{"Daymill only, from its ledger: a transaction of several statements counts as one."}, Rows: got.rows(names...)}
	all := make([]float64, 0, len(names)*b.rounds)
	for _, name := range names {
		for _, one := range got[name] {
			all = append(all, one[lasted])
		}
	}
	result.Ratios = []Ratio{{ID: "longest.ms", What: "longest statement of any day", Value: spread(all), Unit: "ms", Target: 250, Worst: true}}
	return result, nil
}
