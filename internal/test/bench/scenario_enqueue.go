package main

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/date"
)

// enqueue requests ten years of dates.
func enqueue(ctx context.Context, b *bench) (Result, error) {
	db, err := b.install(ctx, "enqueue")
	if err != nil {
		return Result{}, err
	}
	const dates = 3650
	span := date.Range{First: largeDate().AddDays(-dates), Last: largeDate().AddDays(-1)}
	const command, function = "`daymill enqueue`", "`SELECT analytics.enqueue_rollup(…)`"
	got, err := b.turns(ctx, db, nil,
		contender{name: command, prepare: db.forget, run: func(ctx context.Context, url string) (sample, error) {
			p, err := b.daymill(ctx, url, "enqueue", span.String())
			return sample{wall: milliseconds(p.took)}.with(p.memory), err
		}},
		runs(function, fmt.Sprintf("SELECT analytics.enqueue_rollup('%s', '%s')", span.First, span.Last), nil, db.forget))
	if err != nil {
		return Result{}, err
	}
	var requested int
	err = db.QueryRow(ctx, "SELECT count(DISTINCT metric_date) FROM analytics.rollup_requests WHERE resolved_at IS NULL").Scan(&requested)
	if err == nil && requested != dates {
		err = fmt.Errorf("%d dates are requested, not %d", requested, dates)
	}
	return Result{
		Notes: []string{"It ends with a count of the requested dates."},
		Rows:  got.rows(command, function),
		Ratios: []Ratio{
			{ID: "enqueue.seconds", What: "3,650 dates enqueued", Value: got.of(command, wall).scaled(0.001), Unit: "s", Target: 0.5},
		},
	}, err
}
