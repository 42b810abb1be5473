package main

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/date"
)

const historyDays = 100

// byMonth is the option of `daymill migrate` that stores metrics by month.
const byMonth = "--partition-metrics=month"

// history compares the first rollup of a day in a database that has only this day with the first rollup in a database that also has a hundred
// earlier days with their metrics: in one table, and in a table with a partition for each month. It also compares what reads cost in these.
func history(ctx context.Context, b *bench) (Result, error) {
	short, err := b.shortHistory(ctx, "short")
	if err != nil {
		return Result{}, err
	}
	shortMonths, err := b.shortHistory(ctx, "short_months", byMonth)
	if err != nil {
		return Result{}, err
	}
	long, err := b.longHistory(ctx, "long")
	if err != nil {
		return Result{}, err
	}
	longMonths, err := b.longHistory(ctx, "long_months", byMonth)
	if err != nil {
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
	const inShortMonths, inLongMonths = "Daymill by month, in a history of 1 day", "Daymill by month, in a history of 101 days"
	const statementShort, statementLong = statement + ", in a history of 1 day", statement + ", in a history of 101 days"
	const readOne, readMonths = "reads of 500 entities, one table", "reads of 500 entities, by month"
	const boundsOne, boundsMonths = "first and last dates of 500 entities, one table", "first and last dates of 500 entities, by month"
	sql := statementSQL(largeDate(), within(largeDate()))
	turns := []struct {
		contender

		db *database
	}{
		{b.rolls(short, largeDate(), "0", fresh(short)), short},
		{b.rolls(long, largeDate(), "0", fresh(long)), long},
		{runs(statement, sql, oneTable(), without(short)), short},
		{runs(statement, sql, oneTable(), without(long)), long},
		{b.rolls(shortMonths, largeDate(), "0", fresh(shortMonths)), shortMonths},
		{b.rolls(longMonths, largeDate(), "0", fresh(longMonths)), longMonths},
		{runs(readOne, readSQL("m.views_count"), nil, nil), long},
		{runs(readMonths, readSQL("m.views_count"), nil, nil), longMonths},
		{runs(boundsOne, boundsSQL, nil, nil), long},
		{runs(boundsMonths, boundsSQL, nil, nil), longMonths},
	}
	names := []string{
		inShort, inLong, statementShort, statementLong, inShortMonths, inLongMonths, readOne, readMonths, boundsOne, boundsMonths,
	}
	got := samples{}
	for round := range b.rounds * 2 { // The turns are short.
		for i := range turns {
			at := (i + round) % len(turns)
			b.meter.step(names[at])
			one, err := turns[at].db.turn(ctx, turns[at].contender, turns[at].db.url)
			if err != nil {
				return Result{}, fmt.Errorf("%s: %w", names[at], err)
			}
			got[names[at]] = append(got[names[at]], one)
		}
	}
	for _, db := range []*database{short, shortMonths} {
		if err := db.exact(ctx, largeDate()); err != nil {
			return Result{}, err
		}
		db.Close()
	}
	size, err := long.size(ctx, largeDate())
	if err != nil {
		return Result{}, err
	}
	for _, db := range []*database{long, longMonths} {
		if err := db.exact(ctx, largeDate(), largeDate().AddDays(-1)); err != nil {
			return Result{}, err
		}
		db.Close()
	}
	return Result{
		Notes: []string{size + " a day; the other days already have their metrics. By month: `daymill migrate --partition-metrics month`. Reads are of one entity after another."},
		Rows:  got.rows(names...),
		Ratios: []Ratio{
			{ID: "history.time", What: "time in the long history, against the short one", Value: got.ratio(wall, inLong, inShort), Target: 1.1},
			{ID: "history.statement", What: "the statement's time in the long history, against the short one", Value: got.ratio(wall, statementLong, statementShort)},
			{ID: "history.months", What: "time in the long history by month, against the short one by month", Value: got.ratio(wall, inLongMonths, inShortMonths), Target: 1.1},
			{ID: "history.partitioned", What: "time in the long history by month, against the long one in one table", Value: got.ratio(wall, inLongMonths, inLong)},
			{ID: "history.read", What: "reads of entities over all dates by month, against one table", Value: got.ratio(lasted, readMonths, readOne)},
			{ID: "history.bounds", What: "the first and last date of entities by month, against one table", Value: got.ratio(lasted, boundsMonths, boundsOne)},
		},
	}, nil
}

// someEntities are entities of the history, in no order.
const someEntities = "SELECT md5(i::text)::uuid AS id FROM generate_series(1, 500) AS i"

// readSQL reads a column of all dates of some entities, one after another.
func readSQL(column string) string {
	return "SELECT sum(r.total) FROM (" + someEntities + ") AS e CROSS JOIN LATERAL (SELECT sum(" + column + ") AS total " +
		"FROM analytics.daily_entity_metrics AS m WHERE m.entity_id = e.id AND m.metric_date BETWEEN '2024-01-01' AND '2025-12-31' OFFSET 0) AS r"
}

// boundsSQL looks up the first and the last date of some entities, which names no date.
const boundsSQL = "SELECT count(f.metric_date), count(l.metric_date) FROM (" + someEntities + `) AS e
	CROSS JOIN LATERAL (SELECT m.metric_date FROM analytics.daily_entity_metrics AS m WHERE m.entity_id = e.id ORDER BY m.metric_date LIMIT 1) AS f
	CROSS JOIN LATERAL (SELECT m.metric_date FROM analytics.daily_entity_metrics AS m WHERE m.entity_id = e.id ORDER BY m.metric_date DESC LIMIT 1) AS l`

func (b *bench) historyDay(d date.Date) dayOf { return dayOf{d, b.history, b.history / 4} }

// shortHistory makes a database that has only one day.
func (b *bench) shortHistory(ctx context.Context, name string, options ...string) (*database, error) {
	db, err := b.install(ctx, name, options...)
	if err != nil {
		return nil, err
	}
	return db, db.fill(ctx, b.historyDay(largeDate()))
}

// longHistory makes a database that has a hundred days with their metrics, and one more.
func (b *bench) longHistory(ctx context.Context, name string, options ...string) (*database, error) {
	db, err := b.install(ctx, name, options...)
	if err != nil {
		return nil, err
	}
	b.meter.say("fill")
	days := make([]dayOf, 0, historyDays+1)
	for i := range historyDays + 1 {
		days = append(days, b.historyDay(largeDate().AddDays(i-historyDays)))
	}
	if err := db.fill(ctx, days...); err != nil {
		return nil, err
	}
	const columns = "(entity_id, metric_date, views_count, clicks_count, saves_count, skips_count, other_counts)"
	err = db.exec(ctx, "INSERT INTO public.one "+columns+" "+countsSQL("created_at < '"+largeDate().String()+" 00:00Z'")+" ORDER BY 2, 1")
	if err != nil {
		return nil, err
	}
	err = db.exec(ctx, "SELECT analytics.metric_month(d) FROM (SELECT DISTINCT date_trunc('month', metric_date::timestamp)::date AS d FROM public.one) AS m")
	if err != nil {
		return nil, err
	}
	return db, db.exec(ctx, "INSERT INTO analytics.daily_entity_metrics SELECT * FROM public.one ORDER BY metric_date, entity_id")
}
