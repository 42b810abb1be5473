package ledger_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// slowClock is the clock of a machine on which every statement takes a second. It counts pauses, which end at once.
type slowClock struct {
	now    time.Time
	pauses int
	pause  func()
}

func (c *slowClock) Now() time.Time {
	c.now = c.now.Add(time.Second)
	return c.now
}

func (c *slowClock) Sleep(ctx context.Context, _ time.Duration) error {
	c.pauses++
	c.pause()
	return ctx.Err()
}

// before is the instant up to which the tests prune; old is just before it, and young is equal to it.
var before = time.Date(2025, time.March, 1, 0, 0, 0, 0, time.UTC)

const (
	old   = "2025-02-28 23:59:59.999999+00"
	young = "2025-03-01 00:00+00"
)

type testBundle struct {
	db    *pgtest.DB
	pacer *pace.Pacer
}

func TestMain(m *testing.M) { pgtest.Main(m) }

func setup(t *testing.T) *testBundle {
	t.Helper()
	return &testBundle{db: pgtest.Database(t, pgtest.Installed{}), pacer: &pace.Pacer{Clock: pace.SystemClock{}}}
}

func (b *testBundle) prune(t *testing.T) int64 {
	t.Helper()
	deleted, err := ledger.Prune(t.Context(), b.db.DB, before, b.pacer)
	require.NoError(t, err)
	return deleted
}

func TestPrune(t *testing.T) {
	t.Parallel()

	t.Run("Backfills", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, `INSERT INTO analytics.backfills (requested_by, state, first_date, last_date, requested_at, finished_at) VALUES
			('old and cancelled', 'cancelled', '2024-01-01', '2024-01-02', '`+old+`', '`+old+`'),
			('old and complete', 'complete', '2024-01-01', '2024-01-02', '`+old+`', '`+old+`'),
			('old and paused', 'paused', '2024-01-01', '2024-01-02', '`+old+`', NULL),
			('old and running', 'running', '2024-01-01', '2024-01-02', '`+old+`', NULL),
			('young', 'complete', '2024-01-01', '2024-01-02', '`+old+`', '`+young+`')`)
		b.db.Do(t, `INSERT INTO analytics.backfill_dates (backfill_id, metric_date, state)
			SELECT id, first_date + i, 'complete' FROM analytics.backfills, generate_series(0, 1) AS i`)
		// Requests of the backfill that is deleted, and of those that still need them.
		b.db.Do(t, `INSERT INTO analytics.rollup_requests (metric_date, backfill_id, resolved_at, resolution)
			SELECT first_date, id, CASE requested_by WHEN 'old and complete' THEN '`+young+`'::timestamptz ELSE '`+old+`' END, 'satisfied'
			FROM analytics.backfills`)
		// Two backfills, and the requests of one of them and of the young one.
		require.EqualValues(t, 4, b.prune(t))
		require.Equal(t, []string{"old and paused", "old and running", "young"},
			pgtest.Column[string](t, b.db, "SELECT requested_by FROM analytics.backfills ORDER BY id"))
		require.Equal(t, []string{"old and paused", "old and paused", "old and running", "old and running", "young", "young"},
			pgtest.Column[string](t, b.db, `SELECT b.requested_by FROM analytics.backfill_dates AS d
				INNER JOIN analytics.backfills AS b ON b.id = d.backfill_id ORDER BY b.id`))
		require.Equal(t, []string{"none", "old and paused", "old and running"},
			pgtest.Column[string](t, b.db, `SELECT coalesce(b.requested_by, 'none') FROM analytics.rollup_requests AS q
				LEFT JOIN analytics.backfills AS b ON b.id = q.backfill_id ORDER BY 1`))
		require.Zero(t, b.prune(t))
	})

	t.Run("History", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, `INSERT INTO daymill.jobs (id, kind, args, state, queue, priority, attempt, max_attempts, created_at, scheduled_at,
				finalized_at, pruned_at) VALUES
			(1, 'backfill', '{}', 'completed', 'q', 1, 1, 6, '`+old+`', '`+old+`', '`+old+`', '`+young+`'),
			(2, 'backfill', '{}', 'completed', 'q', 1, 1, 6, '`+old+`', '`+old+`', '`+young+`', '`+young+`'),
			(3, 'backfill', '{}', 'completed', 'q', 1, 1, 6, '`+old+`', '`+old+`', '`+old+`', NULL),
			(4, 'backfill', '{}', 'retryable', 'q', 1, 1, 6, '`+old+`', '`+old+`', NULL, NULL)`)
		b.db.Do(t, "INSERT INTO daymill.audit (at, via, action) VALUES ('"+old+"', 'web', 'old'), ('"+young+"', 'web', 'young')")
		b.db.Do(t, `INSERT INTO daymill.calls (actor, key, request, began_at) VALUES ('a', 'old', '', now() - interval '25 hours'), ('a', 'young', '', now() - interval '23 hours')`)
		require.EqualValues(t, 3, b.prune(t))
		require.Equal(t, []string{"young"}, pgtest.Column[string](t, b.db, "SELECT key FROM daymill.calls"))
		require.Equal(t, []string{"2", "3", "4"}, pgtest.Column[string](t, b.db, "SELECT id::text FROM daymill.jobs ORDER BY id"))
		require.Equal(t, []string{"young"}, pgtest.Column[string](t, b.db, "SELECT action FROM daymill.audit"))
		require.Zero(t, b.prune(t))
	})

	// More than one statement takes, in the order in which they ended.
	t.Run("Many", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		clock := &slowClock{pause: func() {}}
		b.pacer = &pace.Pacer{Clock: clock, Pace: pace.Fixed(1)}
		b.db.Do(t, `INSERT INTO analytics.rollup_requests (metric_date, resolved_at, resolution)
			SELECT '2024-01-01', '`+old+`'::timestamptz - i * interval '1 second', 'satisfied' FROM generate_series(1, 2500) AS i`)
		require.EqualValues(t, 2500, b.prune(t))
		require.Equal(t, 10, clock.pauses, "one after each statement: three for requests, one each for those of triggers, runs, verifications, backfills, jobs, the audit and calls")
		require.Equal(t, []string{"0"}, pgtest.Column[string](t, b.db, "SELECT count(*)::text FROM analytics.rollup_requests"))
	})

	t.Run("Requests", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, `INSERT INTO analytics.rollup_requests (requested_by, metric_date, requested_at, resolved_at, resolution) VALUES
			('open', '2024-01-01', '`+old+`', NULL, NULL),
			('old', '2024-01-01', '`+old+`', '`+old+`', 'satisfied'),
			('old', '2024-01-01', '`+old+`', '`+old+`', 'failed'),
			('old', '2024-01-01', '`+old+`', '`+old+`', 'cancelled'),
			('young', '2024-01-01', '`+old+`', '`+young+`', 'satisfied')`)
		require.EqualValues(t, 3, b.prune(t))
		require.Equal(t, []string{"open", "young"}, pgtest.Column[string](t, b.db, "SELECT requested_by FROM analytics.rollup_requests ORDER BY id"))
	})

	t.Run("RequestsOfTriggers", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, `INSERT INTO analytics.rollup_requests (requested_by, requested_via, metric_date, resolved_at, resolution)
			SELECT v.via || ' ' || v.days || coalesce(' ' || v.resolution, ''), v.via, '2024-01-01',
				CASE WHEN v.resolution IS NOT NULL THEN now() - v.days * interval '1 day' END, v.resolution
			FROM (VALUES ('watch', 8, 'satisfied'), ('watch', 8, NULL), ('watch', 6, 'satisfied'), ('sql', 8, 'satisfied'))
				AS v (via, days, resolution)`)
		require.EqualValues(t, 1, b.prune(t))
		require.Equal(t, []string{"watch 8", "watch 6 satisfied", "sql 8 satisfied"},
			pgtest.Column[string](t, b.db, "SELECT requested_by FROM analytics.rollup_requests ORDER BY id"))
	})

	t.Run("Runs", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, `INSERT INTO analytics.rollup_runs (worker, metric_date, state, started_at, finished_at) VALUES
			('gone', '2024-01-01', 'complete', '`+old+`', '`+old+`'),
			('last that completed', '2024-01-01', 'complete', '`+old+`', '`+old+`'),
			('gone', '2024-01-01', 'lost', '`+old+`', '`+old+`'),
			('latest', '2024-01-01', 'failed', '`+old+`', '`+old+`'),
			('gone', '2024-01-02', 'interrupted', '`+old+`', '`+old+`'),
			('latest', '2024-01-02', 'complete', '`+young+`', '`+young+`'),
			('latest', '2024-01-03', 'running', '`+old+`', NULL)`)
		b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, complete_run_id) VALUES
			('2024-01-01', 'failed', 4, 4, 2), ('2024-01-02', 'complete', 6, 6, 6), ('2024-01-03', 'running', 7, 7, NULL)`)
		require.EqualValues(t, 3, b.prune(t))
		require.Equal(t, []string{"last that completed", "latest", "latest", "latest"},
			pgtest.Column[string](t, b.db, "SELECT worker FROM analytics.rollup_runs ORDER BY id"))
		require.Equal(t, []string{"2024-01-01", "2024-01-02", "2024-01-03"},
			pgtest.Column[string](t, b.db, "SELECT metric_date::text FROM analytics.rollup_dates ORDER BY 1"), "dates stay")
	})

	t.Run("Stops", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.Do(t, `INSERT INTO analytics.rollup_requests (metric_date, resolved_at, resolution)
			SELECT '2024-01-01', '`+old+`', 'satisfied' FROM generate_series(1, 2500) AS i`)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		b.pacer = &pace.Pacer{Clock: &slowClock{pause: cancel}, Pace: pace.Fixed(1)}
		deleted, err := ledger.Prune(ctx, b.db.DB, before, b.pacer)
		require.ErrorIs(t, err, context.Canceled)
		require.EqualValues(t, 1000, deleted, "what was deleted is reported")
		require.Equal(t, []string{"1500"}, pgtest.Column[string](t, b.db, "SELECT count(*)::text FROM analytics.rollup_requests"))
	})
}
