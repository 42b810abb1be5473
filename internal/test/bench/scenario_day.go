package main

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/date"
)

func first(ctx context.Context, b *bench) (Result, error) {
	return b.firstOf(ctx, largeDate(), "first", 0.75, 0.05)
}

func few(ctx context.Context, b *bench) (Result, error) {
	return b.firstOf(ctx, fewDate(), "few", 1.0, 0)
}

// firstOf compares the first rollup of a date with the statement, each into an empty table. The targets are for the time and for the longest
// statement; 0 if there is none.
func (b *bench) firstOf(ctx context.Context, d date.Date, id string, target, ofStatements float64) (Result, error) {
	db, err := b.large(ctx)
	if err != nil {
		return Result{}, err
	}
	got, err := b.turns(ctx, db, nil,
		b.rolls(db, d, "0", db.forget),
		runs(ofStatement, statementSQL(d, within(d)), oneTable(), func(ctx context.Context) error { return db.exec(ctx, "TRUNCATE public.one") }))
	if err != nil {
		return Result{}, err
	}
	if err := db.exact(ctx, d); err != nil {
		return Result{}, err
	}
	size, err := db.size(ctx, d)
	b.firsts[size] = got[ofDaymill]
	return Result{
		Notes: []string{size + "."},
		Rows:  got.rows(ofDaymill, ofStatement),
		Ratios: []Ratio{
			{ID: id + ".time", What: "time, against the statement's", Value: got.ratio(wall, ofDaymill, ofStatement), Target: target},
			{ID: id + ".wal", What: "WAL, against the statement's", Value: got.ratio(wal, ofDaymill, ofStatement)},
			{ID: id + ".longest", What: "longest statement, against the statement's", Value: got.ratio(lasted, ofDaymill, ofStatement), Target: ofStatements},
			{ID: id + ".longest_ms", What: "longest statement", Value: got.of(ofDaymill, lasted), Unit: "ms", Target: 250, Worst: true},
			{ID: id + ".memory", What: "peak memory", Value: got.of(ofDaymill, memory).scaled(1.0 / (1 << 20)), Unit: "MiB", Target: 256, Worst: true},
		},
	}, err
}

// size describes the size of a date.
func (db *database) size(ctx context.Context, d date.Date) (string, error) {
	var events, entities int64
	err := db.QueryRow(ctx, "SELECT count(*), count(DISTINCT entity_id) FROM public.raw_events WHERE "+within(d)).Scan(&events, &entities)
	return fmt.Sprintf("%s events of %s entities", thousands(events), thousands(entities)), err
}

// settled makes sure that both tables and the view have the metrics of the large day.
func (b *bench) settled(ctx context.Context) (*database, error) {
	db, err := b.large(ctx)
	if err != nil || db.settled {
		return db, err
	}
	d := largeDate()
	b.meter.say("prepare")
	if err := db.forget(ctx); err != nil {
		return nil, err
	}
	if err := db.exec(ctx, "TRUNCATE public.one"); err != nil {
		return nil, err
	}
	if _, err := b.rollup(ctx, db.url, d, "0"); err != nil {
		return nil, err
	}
	if err := db.exec(ctx, statementSQL(d, within(d))); err != nil {
		return nil, err
	}
	if err := db.same(ctx, d); err != nil {
		return nil, err
	}
	db.settled = true
	return db, db.exec(ctx, viewSQL(within(d)))
}

func rerun(ctx context.Context, b *bench) (Result, error) {
	db, err := b.settled(ctx)
	if err != nil {
		return Result{}, err
	}
	return b.again(ctx, db, "rerun", nil, []Ratio{{Target: 0.30}, {Target: 0.01}})
}

// changedSQL adds an event to one entity in a hundred, a different hundredth each time.
const changedSQL = `
INSERT INTO public.raw_events (entity_id, event_type, created_at)
SELECT m.entity_id, 'click', $1::date::timestamp AT TIME ZONE 'UTC' + random() * interval '1 day'
FROM analytics.daily_entity_metrics AS m
WHERE m.metric_date = $1 AND (hashtext(m.entity_id::text) & 65535) % 100 = $2`

func changed(ctx context.Context, b *bench) (Result, error) {
	db, err := b.settled(ctx)
	if err != nil {
		return Result{}, err
	}
	late := func(ctx context.Context, round int) error { return db.exec(ctx, changedSQL, largeDate(), round) }
	result, err := b.again(ctx, db, "changed", late, []Ratio{{}, {Target: 0.05}})
	if err != nil {
		return Result{}, err
	}
	// Later scenarios find the day as it was before.
	db.settled = false
	return result, db.exec(ctx, `DELETE FROM public.raw_events WHERE id > $1 AND `+within(largeDate()),
		2*b.events+b.events/10+b.events/100)
}

// again compares reruns; targets has the targets for the time and for the WAL.
func (b *bench) again(
	ctx context.Context, db *database, id string, prepare func(ctx context.Context, round int) error, targets []Ratio,
) (Result, error) {
	statement := statementSQL(largeDate(), within(largeDate()))
	contenders := []contender{
		b.rolls(db, largeDate(), "0", nil),
		runs(ofStatement, statement, oneTable(), nil),
		runs(ofView, "REFRESH MATERIALIZED VIEW CONCURRENTLY by_view", []string{"public", "by_view"}, nil),
	}
	names := []string{ofDaymill, ofStatement, ofView}
	if prepare == nil { // With changes, it would find what the plain statement has written.
		contenders = append(contenders, runs(ofCareful, statement+carefulSQL, oneTable(), nil))
		names = append(names, ofCareful)
	}
	got, err := b.turns(ctx, db, prepare, contenders...)
	if err != nil {
		return Result{}, err
	}
	if err := db.exact(ctx, largeDate()); err != nil {
		return Result{}, err
	}
	if err := db.same(ctx, largeDate()); err != nil {
		return Result{}, err
	}
	size, err := db.size(ctx, largeDate())
	result := Result{
		Notes: []string{
			size + ".",
			"The materialized view contains only this day. A view of a whole history would compute all of it in each refresh.",
		},
		Rows: got.rows(names...),
		Ratios: []Ratio{
			{ID: id + ".time", What: "time, against the statement's", Value: got.ratio(wall, ofDaymill, ofStatement), Target: targets[0].Target},
			{ID: id + ".wal", What: "WAL, against the statement's", Value: got.ratio(wal, ofDaymill, ofStatement), Target: targets[1].Target},
			{ID: id + ".view", What: "time, against the view's", Value: got.ratio(wall, ofDaymill, ofView)},
			{ID: id + ".longest_ms", What: "longest statement", Value: got.of(ofDaymill, lasted), Unit: "ms", Target: 250, Worst: true},
		},
	}
	if prepare == nil {
		result.Ratios = append(result.Ratios,
			Ratio{ID: id + ".careful", What: "time, against that of the statement that writes only rows that differ", Value: got.ratio(wall, ofDaymill, ofCareful)})
	}
	return result, err
}

// scaled returns the spread in another unit.
func (s Spread) scaled(by float64) Spread {
	return Spread{Median: s.Median * by, Low: s.Low * by, High: s.High * by}
}
