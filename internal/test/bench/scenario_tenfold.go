package main

import (
	"context"

	"github.com/daymill/daymill/internal/date"
)

// tenth returns how many events the smaller of the two days has.
func (b *bench) tenth() int {
	if b.large10 {
		return b.events
	}
	return b.events / 10
}

// tenfold compares a day with one of ten times as many events and entities.
func tenfold(ctx context.Context, b *bench) (Result, error) {
	db, err := b.many(ctx)
	if err != nil {
		return Result{}, err
	}
	small, err := db.size(ctx, tenthDate())
	if err != nil {
		return Result{}, err
	}
	large, err := db.size(ctx, manyDate())
	if err != nil {
		return Result{}, err
	}
	of := func(d date.Date, name string) contender {
		c := b.rolls(db, d, "0", db.forget)
		c.name = name
		return c
	}
	got, err := b.turns(ctx, db, nil, of(tenthDate(), small), of(manyDate(), large))
	if err != nil {
		return Result{}, err
	}
	for _, d := range []date.Date{tenthDate(), manyDate()} { // The first one of the last round was reset.
		if _, err := b.rollup(ctx, db.url, d, "0"); err != nil {
			return Result{}, err
		}
		if err := db.exact(ctx, d); err != nil {
			return Result{}, err
		}
	}
	return Result{
		Rows: got.rows(small, large),
		Ratios: []Ratio{
			{ID: b.id("tenfold", ".time"), What: "time of the larger day, against the smaller's", Value: got.ratio(wall, large, small), Target: 10.5},
			{ID: b.id("tenfold", ".memory"), What: "peak memory", Value: got.of(large, memory).scaled(1.0 / (1 << 20)), Unit: "MiB", Target: 256, Worst: true},
		},
	}, nil
}

// id returns the id of a ratio, which differs between the long and the short runs.
func (b *bench) id(name, rest string) string {
	if b.large10 {
		return name + ".large" + rest
	}
	return name + rest
}
