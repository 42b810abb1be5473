package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/recount"
)

// database has Daymill's schema and public.raw_events, with entities of type uuid and dates in UTC.
type database struct {
	*pgxpool.Pool

	url     string
	tracks  bool // see server
	settled bool // see bench.settled
}

// oneTable is the table that the contenders fill. It has the definition of Daymill's.
func oneTable() pgx.Identifier { return pgx.Identifier{"public", "one"} }

// install creates a database. Options are those of `daymill migrate`.
func (b *bench) install(ctx context.Context, name string, options ...string) (*database, error) {
	b.meter.say("install")
	url, err := b.server.create(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := b.daymill(ctx, url, append([]string{"migrate"}, options...)...); err != nil {
		return nil, err
	}
	if _, err := b.daymill(ctx, url, "source", "create"); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 1 // See turn.
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	db := &database{Pool: pool, url: url, tracks: b.server.tracks}
	if b.server.tracks {
		if err := db.exec(ctx, "CREATE EXTENSION pg_stat_statements"); err != nil {
			return nil, err
		}
	}
	// The worker should only do requested work, and no daily job.
	return db, db.exec(ctx, `
		CREATE TABLE public.one (LIKE analytics.daily_entity_metrics INCLUDING ALL);
		ALTER TABLE public.one SET (fillfactor = 90);
		INSERT INTO daymill.schedules (name, last_due_at, paused_at)
		VALUES ('daily_rollup', 'infinity', now()), ('prune_ledger', 'infinity', now()), ('verify_dates', 'infinity', now())`)
}

func (db *database) exec(ctx context.Context, sql string, arguments ...any) error {
	if _, err := db.Exec(ctx, sql, arguments...); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(strings.Fields(sql)[:2], " "), err)
	}
	return nil
}

// dayOf says which events a date gets.
type dayOf struct {
	date             date.Date
	events, entities int
}

// fillSQL inserts random events of a date: $1 the date, $2 how many, $3 the entities that they are drawn from. A few
// entities have many events and most have few; hours are binomial about noon. Events are inserted in the order of time, as in real tables.
const fillSQL = `
INSERT INTO public.raw_events (entity_id, event_type, created_at)
SELECT
	md5(floor(power(random(), 3) * $3::integer)::integer::text)::uuid,
	(ARRAY['view', 'view', 'view', 'view', 'view', 'view', 'view', 'click', 'click', 'save', 'skip', 'share'])
		[1 + floor(random() * 12)::integer],
	$1::date::timestamp AT TIME ZONE 'UTC' + least(0.999999, 0.05 + (random() + random() + random()) * 0.3) * interval '1 day'
FROM generate_series(1, $2::integer)
ORDER BY 3`

// fill inserts random events, which are the same in each run.
func (db *database) fill(ctx context.Context, days ...dayOf) error {
	conn, err := pgx.Connect(ctx, db.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	do := func(sql string, arguments ...any) {
		if err == nil {
			_, err = conn.Exec(ctx, sql, arguments...)
		}
	}
	do("SET synchronous_commit = off; SET work_mem = '256MB'; SET maintenance_work_mem = '256MB'; SELECT setseed(0.5)")
	do("DROP INDEX public.raw_events_created_at")
	for _, d := range days {
		do(fillSQL, d.date, d.events, d.entities)
	}
	do("CREATE INDEX raw_events_created_at ON public.raw_events (created_at)")
	do("VACUUM ANALYZE public.raw_events")
	if err != nil {
		return fmt.Errorf("insert random events: %w", err)
	}
	return nil
}

// forget resets metrics and the ledger to their state before the first rollup.
func (db *database) forget(ctx context.Context) error {
	db.settled = false
	return db.exec(ctx, `TRUNCATE analytics.daily_entity_metrics, analytics.rollup_dates, analytics.rollup_runs,
		analytics.rollup_requests, analytics.backfills, analytics.backfill_dates, analytics.top_entities,
		analytics.date_types`)
}

// exact returns an error unless the metrics equal a recount.
func (db *database) exact(ctx context.Context, dates ...date.Date) error {
	_, err := recount.Compare(ctx, db, recount.Metrics(), dates)
	return err
}

// same returns an error unless the contender's table has the same rows of a date as Daymill's.
func (db *database) same(ctx context.Context, d date.Date) error {
	var differ int64
	const columns = "entity_id, metric_date, views_count, clicks_count, saves_count, skips_count, other_counts"
	err := db.QueryRow(ctx, `SELECT count(*) FROM (
		(SELECT `+columns+` FROM public.one WHERE metric_date = $1 EXCEPT ALL
		SELECT `+columns+` FROM analytics.daily_entity_metrics WHERE metric_date = $1) UNION ALL
		(SELECT `+columns+` FROM analytics.daily_entity_metrics WHERE metric_date = $1 EXCEPT ALL
		SELECT `+columns+` FROM public.one WHERE metric_date = $1)) AS d`, d).Scan(&differ)
	if err == nil && differ > 0 {
		err = fmt.Errorf("%d rows of the contender differ from Daymill's", differ)
	}
	return err
}
