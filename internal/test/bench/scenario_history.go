package main

import (
	"context"

	"github.com/daymill/daymill/internal/date"
)

const historyDays = 100

// history compares the first rollup of a day in a database that has only this day with the first rollup in a database that also has a hundred
// earlier days with their metrics.
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
	const columns = "(entity_id, metric_date, views_count, clicks_count, saves_count, skips_count, other_counts)"
	err = long.exec(ctx, "INSERT INTO public.one "+columns+" "+
		countsSQL("created_at < '"+largeDate().String()+" 00:00Z'")+" ORDER BY 2, 1")
	if err != nil {
		return Result{}, err
	}
	if err := long.exec(ctx, "INSERT INTO analytics.daily_entity_metrics SELECT * FROM public.one ORDER BY metric_date, entity_id"); err != nil {
		return Result{}, err
	}

	fresh := func(db *database) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			return db.exec(ctx, "DELETE FROM analytics.daily_entity_metrics WHERE metric_date = '"+largeDate().String()+
				"'; TRUNCATE analytics.rollup_dates, analytics.rollup_runs, analytics.rollup_requests")
		}
	}
	without := func(db *database) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			return db.exec(ctx, "DELETE FROM public.one WHERE metric_date = $1", largeDate())
		}
	}
	const inShort, inLong, statement = "Daymill, in a history of 1 day", "Daymill, in a history of 101 days", "one statement"
	const statementShort, statementLong = statement + ", in a history of 1 day", statement + ", in a history of 101 days"
	sql := statementSQL(largeDate(), within(largeDate()))
	turns := []struct {
		contender

		db *database
	}{
		{b.rolls(short, largeDate(), "0", fresh(short)), short},
		{b.rolls(long, largeDate(), "0", fresh(long)), long},
		{runs(statement, sql, oneTable(), without(short)), short},
		{runs(statement, sql, oneTable(), without(long)), long},
	}
	names := []string{inShort, inLong, statementShort, statementLong}
	got := samples{}
	for round := range b.rounds * 2 { // The turns are short.
		for i := range turns {
			at := (i + round) % len(turns)
			b.meter.step(names[at])
			one, err := turns[at].db.turn(ctx, turns[at].contender, turns[at].db.url)
			if err != nil {
				return Result{}, err
			}
			got[names[at]] = append(got[names[at]], one)
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
		Notes: []string{size + " a day; the other days already have their metrics."},
		Rows:  got.rows(names...),
		Ratios: []Ratio{
			{ID: "history.time", What: "time in the long history, against the short one", Value: got.ratio(wall, inLong, inShort), Target: 1.1},
			{ID: "history.statement", What: "the statement's time in the long history, against the short one", Value: got.ratio(wall, statementLong, statementShort)},
		},
	}, err
}
