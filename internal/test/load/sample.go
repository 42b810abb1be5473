package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/recount"
)

// sample is the state at an instant.
type sample struct {
	at time.Time

	// Totals so far.
	events, transactions, asked int64
	runs, satisfied             int64
	worked                      time.Duration // of these runs, without pauses

	// How long the oldest open request has waited: of requests that writers made, and of requests of the triggers, which wait half a minute
	// before they are due.
	lag, watchLag time.Duration

	memory      []int64          // bytes of each worker
	tables      map[string]table // by name
	connections map[string]int   // by application name
}

// table has Postgres's statistics of a table.
type table struct {
	live, dead, bytes int64
}

// tables returns the tables that grow or change with the load, in the order in which they are shown.
func tables() []string {
	return []string{
		riverSchema + ".river_job", "analytics.rollup_requests", "analytics.rollup_runs", "analytics.rollup_dates",
		"daymill.jobs", "daymill.audit", "analytics.top_entities", "analytics.date_types", "analytics.daily_entity_metrics",
	}
}

const (
	// Use indexes for runs and requests, because their tables get large.
	progressSQL = `SELECT
	r.runs,
	r.worked,
	(SELECT count(*) FROM analytics.rollup_requests WHERE resolution = 'satisfied' AND resolved_at > $1 AND resolved_at IS NOT NULL),
	coalesce((SELECT now() - min(q.requested_at) FILTER (WHERE q.requested_via <> 'watch') FROM analytics.rollup_requests AS q
		WHERE q.resolved_at IS NULL), '0'),
	coalesce((SELECT now() - min(q.requested_at) FILTER (WHERE q.requested_via = 'watch') FROM analytics.rollup_requests AS q
		WHERE q.resolved_at IS NULL), '0'),
	clock_timestamp()
FROM (
	SELECT count(*) AS runs, coalesce(sum(worked_ms), 0) * interval '1 ms' AS worked FROM analytics.rollup_runs
	WHERE state = 'complete' AND finished_at > $1
) AS r`
	statisticsSQL = `SELECT s.schemaname || '.' || s.relname, s.n_live_tup, s.n_dead_tup, pg_total_relation_size(s.relid)
FROM pg_stat_user_tables AS s WHERE s.schemaname || '.' || s.relname = ANY ($1)`
	connectionSQL = `SELECT application_name, count(*)::integer FROM pg_stat_activity
WHERE backend_type = 'client backend' GROUP BY 1`
)

// since is the time up to which the last sample counted, by the server's clock. The next sample continues from there.
type since struct {
	at              time.Time
	runs, satisfied int64
	worked          time.Duration
}

// sample takes a sample.
func (s *site) sample(ctx context.Context, done *written) (sample, error) {
	one := sample{
		at: now(), events: done.events.Load(), transactions: done.transactions.Load(), asked: done.asked.Load(),
		tables: map[string]table{},
	}
	var runs, satisfied int64
	var worked time.Duration
	err := s.looking.QueryRow(ctx, progressSQL, s.since.at).Scan(&runs, &worked, &satisfied, &one.lag, &one.watchLag, &s.since.at)
	if err != nil {
		return sample{}, fmt.Errorf("look at the ledger: %w", err)
	}
	s.since.runs += runs
	s.since.satisfied += satisfied
	s.since.worked += worked
	one.worked = s.since.worked
	one.runs, one.satisfied = s.since.runs, s.since.satisfied
	found, err := s.looking.Query(ctx, statisticsSQL, tables())
	if err != nil {
		return sample{}, fmt.Errorf("look at the tables: %w", err)
	}
	var name string
	var t table
	_, err = pgx.ForEachRow(found, []any{&name, &t.live, &t.dead, &t.bytes}, func() error {
		one.tables[name] = t
		return nil
	})
	if err != nil {
		return sample{}, fmt.Errorf("look at the tables: %w", err)
	}
	if one.connections, err = s.connections(ctx); err != nil {
		return sample{}, err
	}
	for _, w := range s.workers {
		if err := w.alive(); err != nil {
			return sample{}, err
		}
		memory, err := w.memory(ctx)
		if err != nil {
			return sample{}, err
		}
		one.memory = append(one.memory, memory)
	}
	return one, nil
}

func (s *site) connections(ctx context.Context) (map[string]int, error) {
	rows, err := s.looking.Query(ctx, connectionSQL)
	if err != nil {
		return nil, fmt.Errorf("look at the connections: %w", err)
	}
	counts := map[string]int{}
	var name string
	var count int
	_, err = pgx.ForEachRow(rows, []any{&name, &count}, func() error {
		counts[name] = count
		return nil
	})
	return counts, err
}

// ending is the state once nothing is left to do.
type ending struct {
	took      time.Duration // from the last write until nothing was open
	recount   recount.Recount
	differs   error          // recount.ErrDiffers if the metrics are not exact
	unsettled int64          // dates that are not complete
	left      map[string]int // connections of workers that have stopped
}

// patience is how long it may take until nothing is left to do, and until workers stop.
const patience = 3 * time.Minute

const (
	quietSQL = `SELECT NOT EXISTS (SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)
	AND NOT EXISTS (SELECT FROM ` + riverSchema + `.river_job WHERE kind = 'rollup_day' AND finalized_at IS NULL)`
	unsettledSQL = "SELECT count(*) FROM analytics.rollup_dates WHERE state <> 'complete'"
)

// quiet waits until nothing is left to do, compares the metrics with a recount and stops the workers.
func (s *site) quiet(ctx context.Context) (ending, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it is not quiet after %s", patience)) //nolint:err113 // It is printed.
	defer cancel()
	var end ending
	for begun, quiet := now(), false; !quiet; {
		if err := s.looking.QueryRow(ctx, quietSQL).Scan(&quiet); err != nil {
			return end, fmt.Errorf("wait until it is quiet: %w", err)
		}
		end.took = now().Sub(begun)
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return end, err
		}
	}
	dates := make([]date.Date, 0, len(s.late))
	for _, d := range s.late {
		dates = append(dates, d.date)
	}
	end.recount, end.differs = recount.Compare(ctx, s.looking, recount.Metrics(), dates)
	if err := s.looking.QueryRow(ctx, unsettledSQL).Scan(&end.unsettled); err != nil {
		return end, err
	}
	for _, w := range s.workers {
		if err := w.stop(ctx); err != nil {
			return end, err
		}
	}
	// A session ends a moment after its client.
	for begun := now(); ; {
		counts, err := s.connections(ctx)
		if err != nil {
			return end, err
		}
		maps.DeleteFunc(counts, func(name string, _ int) bool { return !strings.HasPrefix(name, "daymill") })
		if end.left = counts; len(counts) == 0 || now().Sub(begun) > 5*time.Second {
			return end, nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return end, err
		}
	}
}

// ofWorkers returns how many connections the workers have.
func (s sample) ofWorkers() (count int) {
	for name, n := range s.connections {
		if strings.HasPrefix(name, "daymill") {
			count += n
		}
	}
	return count
}
