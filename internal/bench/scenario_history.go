package main

import (
	"context"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/recount"
)

const historyDays = 100

// history compares the first rollup of a day in a database that has nothing else with that in one where a hundred days
// went before it, which all have their metrics.
func history(ctx context.Context, b *bench) (Result, error) {
	day := func(d date.Date) dayOf { return dayOf{d, b.history, b.history / 4} }
	short, err := b.install(ctx, "short")
	if err != nil {
		return Result{}, err
	}
	if err := short.fill(ctx, day(largeDate())); err != nil {
		return Result{}, err
	}
	long, err := b.install(ctx, "long")
	if err != nil {
		return Result{}, err
	}
	b.meter.say("fill")
	days := make([]dayOf, 0, historyDays+1)
	for i := range historyDays + 1 {
		days = append(days, day(largeDate().AddDays(i-historyDays)))
	}
	if err := long.fill(ctx, days...); err != nil {
		return Result{}, err
	}
	err = long.exec(ctx, `INSERT INTO analytics.daily_entity_metrics
		(entity_id, metric_date, views_count, clicks_count, saves_count, skips_count, other_counts) `+
		countsSQL("created_at < '"+largeDate().String()+" 00:00Z'")+" ORDER BY 2, 1")
	if err != nil {
		return Result{}, err
	}

	anew := func(db *database) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			return db.exec(ctx, "DELETE FROM analytics.daily_entity_metrics WHERE metric_date = '"+largeDate().String()+
				"'; TRUNCATE analytics.rollup_dates, analytics.rollup_runs, analytics.rollup_requests")
		}
	}
	const inShort, inLong = "in a history of 1 day", "in a history of 101 days"
	got := samples{}
	for round := range b.rounds * 2 { // They are short.
		for i := range 2 {
			name, db := inShort, short
			if (i+round)%2 == 1 {
				name, db = inLong, long
			}
			b.meter.step(name)
			c := b.rolls(db, largeDate(), "0", anew(db))
			c.table = recount.Metrics()
			one, err := db.turn(ctx, c, db.url)
			if err != nil {
				return Result{}, err
			}
			got[name] = append(got[name], one)
		}
	}
	if err := short.exact(ctx, largeDate()); err != nil {
		return Result{}, err
	}
	if err := long.exact(ctx, largeDate(), largeDate().AddDays(-1)); err != nil {
		return Result{}, err
	}
	size, err := long.size(ctx, largeDate())
	long.Close()
	short.Close()
	return Result{
		Notes: []string{size + " a day; the other days have their metrics."},
		Rows:  got.rows(inShort, inLong),
		Ratios: []Ratio{
			{ID: "history.time", What: "time in the long history, against the short", Value: got.ratio(wall, inLong, inShort), Target: 1.1},
		},
	}, err
}
