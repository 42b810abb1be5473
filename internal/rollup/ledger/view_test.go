package ledger_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestDateStates: the view shows the current state of dates, whatever their rows say.
func TestDateStates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, heartbeat_at) VALUES
		('2026-03-01', 'running', 1, 1, now()),
		('2026-03-02', 'running', 2, 2, now() - interval '31 seconds'),
		('2026-03-03', 'running', 3, 3, now() - interval '31 seconds'),
		('2026-03-04', 'complete', 4, 4, now()),
		('2026-03-05', 'complete', 5, 5, now()),
		('2026-03-06', 'failed', 6, 6, now()),
		('2026-03-07', 'failed', 7, 7, now())`)
	b.db.Do(t, `INSERT INTO analytics.rollup_requests (metric_date, due_at) VALUES
		('2026-03-02', now()),
		('2026-03-04', now() + interval '1 day'),
		('2026-03-05', now()), ('2026-03-05', now() + interval '1 day'),
		('2026-03-06', now() + interval '1 day'),
		('2026-03-07', now()),
		('2026-03-08', now()),
		('2026-03-09', now() + interval '1 day'),
		('9999-12-31', now())`)
	require.Equal(t, []string{
		"2026-03-01 running", "2026-03-02 retrying", "2026-03-03 interrupted", "2026-03-04 complete", "2026-03-05 requested",
		"2026-03-06 failed", "2026-03-07 retrying", "2026-03-08 requested", "2026-03-09 waiting", "9999-12-31 waiting",
	}, pgtest.Column[string](t, b.db, "SELECT metric_date || ' ' || state FROM analytics.date_states ORDER BY metric_date"))
}

// TestLive reads the live view from midnight on, when yesterday is not complete.
func TestLive(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "America/Sao_Paulo"})
	db.RawEvents(t)
	b := &testBundle{db: db}
	b.db.Do(t, `INSERT INTO public.raw_events (entity_id, event_type, created_at)
		SELECT 1, 'view', analytics.date_start(analytics.date_of(now()) - i) + interval '1 minute' FROM generate_series(-1, 3) AS i`)
	b.db.Do(t, `INSERT INTO public.raw_events (entity_id, event_type, created_at)
		VALUES (1, 'LIKE', analytics.date_start(analytics.date_of(now())) - interval '1 microsecond')`)
	// The day before yesterday is complete; a run of yesterday has got as far as entity 1.
	b.db.Do(t, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count)
		SELECT 1, analytics.date_of(now()) - i, 7 FROM generate_series(1, 2) AS i`)
	b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id)
		VALUES (analytics.date_of(now()) - 1, 'running', 1, 1)`)
	read := func() []string {
		return pgtest.Column[string](t, b.db, `SELECT format('%s: %s %s', analytics.date_of(now()) - metric_date, views_count, other_counts)
			FROM analytics.daily_entity_metrics_live WHERE entity_id = 1 ORDER BY metric_date`)
	}
	require.Equal(t, []string{"2: 7 {}", `1: 1 {"LIKE": 1}`, "0: 1 {}"}, read())
	b.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'complete', completed_at = now()")
	require.Equal(t, []string{"2: 7 {}", "1: 7 {}", "0: 1 {}"}, read())
	// As it was when it was complete, while it is rolled up again.
	b.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'running'")
	require.Equal(t, []string{"2: 7 {}", "1: 7 {}", "0: 1 {}"}, read())

	// Events of a date that was over long ago are not read.
	plan := strings.Join(pgtest.Column[string](t, b.db, `EXPLAIN (ANALYZE, COSTS off, TIMING off)
		SELECT * FROM analytics.daily_entity_metrics_live WHERE metric_date = '2026-03-01' AND entity_id = 1`), "\n")
	for line := range strings.Lines(plan) {
		if strings.Contains(line, "raw_events") && strings.Contains(line, "->") {
			require.Contains(t, line, "never executed", plan)
		}
	}
	require.Contains(t, plan, "raw_events", "or this has looked at nothing")
}
