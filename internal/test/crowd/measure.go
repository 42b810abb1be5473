package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// share is what some statements cost.
type share struct {
	calls int64
	took  time.Duration // of the server
}

// result has the figures of some workers.
type result struct {
	workers     int
	connections map[string]int64 // by what they do, at the end of the idle time
	most        int64            // connections at once while the dates were rolled up
	idle, busy  map[string]share // by kind of statement
	lasted      time.Duration    // from the request to the last date complete
	server      time.Duration    // processor time of Postgres for the workers' sessions, in both parts
	processes   time.Duration    // processor time of the workers, likewise
}

// measure starts workers, watches them idle and then busy, and stops them.
func (s *site) measure(ctx context.Context, workers int) (result, error) {
	r := result{workers: workers}
	_, err := s.looking.Exec(ctx, `TRUNCATE analytics.daily_entity_metrics, analytics.rollup_dates, analytics.rollup_runs, analytics.rollup_requests,
		analytics.top_entities, analytics.date_types, daymill.workers, daymill.jobs, public.river_job`)
	if err != nil {
		return result{}, err
	}
	before, err := s.processors(ctx)
	if err != nil {
		return result{}, err
	}
	if err := s.start(ctx, workers); err != nil {
		return result{}, err
	}
	// The first comparison of what is installed, and River's election.
	if err := sleep(ctx, 5*time.Second); err != nil {
		return result{}, err
	}
	if r.idle, err = s.during(ctx, func() error { return sleep(ctx, s.idle) }); err != nil {
		return result{}, err
	}
	if r.connections, err = s.connections(ctx); err != nil {
		return result{}, err
	}
	if r.busy, err = s.during(ctx, func() (err error) { r.lasted, r.most, err = s.backlog(ctx); return err }); err != nil {
		return result{}, err
	}
	if r.processes, err = s.stop(); err != nil {
		return result{}, err
	}
	err = s.await(ctx, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> $1", lookerName)
	if err != nil {
		return result{}, err
	}
	// The postmaster adds the time of a process when it has seen it end.
	if err := sleep(ctx, time.Second); err != nil {
		return result{}, err
	}
	after, err := s.processors(ctx)
	r.server = after - before
	return r, err
}

// backlog requests all dates at once, and returns how long it took until the last one was complete, and the most connections at once.
func (s *site) backlog(ctx context.Context) (lasted time.Duration, most int64, err error) {
	began := now()
	_, err = s.looking.Exec(ctx, "SELECT analytics.enqueue_rollup('2026-01-01'::date, '2026-01-01'::date + $1::integer - 1)", s.dates)
	if err != nil {
		return 0, 0, fmt.Errorf("request the dates: %w", err)
	}
	for complete := 0; complete < s.dates; {
		var now int64
		err := s.looking.QueryRow(ctx, `SELECT (SELECT count(*) FROM analytics.rollup_dates WHERE state = 'complete'),
			(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> $1)`, lookerName).Scan(&complete, &now)
		if err != nil {
			return 0, 0, err
		}
		most = max(most, now)
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	return now().Sub(began), most, nil
}

// kindSQL says of a statement what it is for. The comment before Daymill's statements has their names.
const kindSQL = `CASE
	WHEN query ~ 'crowd looker|pg_stat_statements|pg_stat_activity|rollup_dates WHERE state = ' THEN 'this program'
	WHEN query ~ 'name: (Reconcile|Watch|Late|Backfill|Schedule)' THEN 'reconciler'
	WHEN query ~* 'river_(job|leader|queue|notification)|River' OR query ~ '^LISTEN|^UNLISTEN|pg_notify' THEN 'queue (River)'
	WHEN query ~ 'name: (Worker|Presence)|daymill\.workers' THEN 'presence of workers'
	WHEN query ~ 'name: Pace|pg_stat_(replication|wal|bgwriter)' THEN 'governor'
	WHEN query ~ '^copy|^COPY|name: Metric' THEN 'writing metrics'
	WHEN query ~ 'analytics\.events|name: Event' THEN 'reading events'
	WHEN query ~* '^(begin|commit|rollback|set|show|select pg_catalog.set_config)' THEN 'transactions and settings'
	WHEN query ~ 'pg_catalog\.|pg_class|pg_proc' THEN 'comparison of what is installed'
	ELSE 'ledger and runs'
END`

// during returns what statements cost while do ran.
func (s *site) during(ctx context.Context, do func() error) (map[string]share, error) {
	if _, err := s.looking.Exec(ctx, "SELECT pg_stat_statements_reset()"); err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	rows, err := s.looking.Query(ctx, "SELECT "+kindSQL+`, sum(calls)::bigint, sum(total_exec_time + total_plan_time)::float8 FROM pg_stat_statements GROUP BY 1`)
	if err != nil {
		return nil, err
	}
	all := map[string]share{}
	var kind string
	var calls int64
	var ms float64
	_, err = pgx.ForEachRow(rows, []any{&kind, &calls, &ms}, func() error {
		if kind != "this program" {
			all[kind] = share{calls, time.Duration(ms * float64(time.Millisecond))}
		}
		return nil
	})
	return all, err
}

// connections counts the workers' connections: those that listen, and those of the pool.
func (s *site) connections(ctx context.Context) (map[string]int64, error) {
	rows, err := s.looking.Query(ctx, `SELECT CASE WHEN query ~* '^listen' THEN 'listen' ELSE 'pool' END, count(*)
		FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> $1 GROUP BY 1`, lookerName)
	if err != nil {
		return nil, err
	}
	all := map[string]int64{}
	var what string
	var count int64
	_, err = pgx.ForEachRow(rows, []any{&what, &count}, func() error {
		all[what] = count
		return nil
	})
	return all, err
}

func (r result) sum(of map[string]share) (sum share) {
	for _, one := range of {
		sum.calls += one.calls
		sum.took += one.took
	}
	return sum
}

// report prints tables in Markdown.
func report(out io.Writer, o options, results []result) {
	line := func(name string, cell func(r result) string) {
		cells := make([]string, 1, 1+len(results))
		cells[0] = name
		for _, r := range results {
			cells = append(cells, cell(r))
		}
		fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
	}
	line("workers", func(r result) string { return strconv.Itoa(r.workers) })
	fmt.Fprintf(out, "|---%s|\n", strings.Repeat("|---", len(results)))
	line("connections, idle: of pools, that listen", func(r result) string { return fmt.Sprintf("%d, %d", r.connections["pool"], r.connections["listen"]) })
	line("connections, busy, at most", func(r result) string { return strconv.FormatInt(r.most, 10) })
	perMinute := func(r result, n float64) float64 { return n / float64(r.workers) / o.idle.Minutes() }
	line("idle: statements of a worker in a minute", func(r result) string { return fmt.Sprintf("%.0f", perMinute(r, float64(r.sum(r.idle).calls))) })
	line("idle: server's time for a worker in a minute", func(r result) string { return fmt.Sprintf("%.0f ms", perMinute(r, r.sum(r.idle).took.Seconds()*1000)) })
	kinds := map[string]bool{}
	for _, r := range results {
		for kind := range r.idle {
			kinds[kind] = true
		}
		for kind := range r.busy {
			kinds[kind] = true
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		line("idle: "+kind, func(r result) string {
			return fmt.Sprintf("%.0f, %.1f ms", perMinute(r, float64(r.idle[kind].calls)), perMinute(r, r.idle[kind].took.Seconds()*1000))
		})
	}
	line(fmt.Sprintf("busy: %d dates of %d events, from the request to the last one complete", o.dates, o.events), func(r result) string {
		return fmt.Sprintf("%.1f s, %.1f dates a second", r.lasted.Seconds(), float64(o.dates)/r.lasted.Seconds())
	})
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		line("busy: "+kind, func(r result) string {
			return fmt.Sprintf("%.0f %%", 100*r.busy[kind].took.Seconds()/r.sum(r.busy).took.Seconds())
		})
	}
	line("processor time, of Postgres, of the workers", func(r result) string {
		return fmt.Sprintf("%.1f s, %.1f s", r.server.Seconds(), r.processes.Seconds())
	})
}
