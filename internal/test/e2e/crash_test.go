package e2e_test

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/jobs"
)

// testKilled kills a worker in the middle of a date. The other worker continues the date where the first one stopped.
func testKilled(t *testing.T, binary string) {
	t.Helper()
	b := prepare(t, pgtest.Database(t, installed), binary)
	b.hold(t, day)
	all := []*process{b.worker(t), b.worker(t)}
	b.request(t, day)
	b.awaitHeld(t, day)
	b.workerOf(t, day, all...).kill(t)
	killed := time.Now()
	b.release(t)
	b.awaitComplete(t, day)
	require.Less(t, time.Since(killed), time.Minute)
	require.Equal(t, []string{"lost", "complete"}, b.runStates(t, day))
	require.True(t, pgtest.Value[bool](t, b.db, `SELECT n.resumed_run_id = o.id AND n.rows_inserted = 1
		FROM analytics.rollup_runs AS n, analytics.rollup_runs AS o WHERE n.state = 'complete' AND o.state = 'lost'`),
		"the second run should have written the last row only")
	require.Equal(t, []int{2}, pgtest.Column[int](t, b.db, "SELECT attempt FROM river_job WHERE kind = 'rollup_day'"))
}

// testPostgresCrash crashes Postgres in the middle of a date. The same worker process continues when it is back.
func testPostgresCrash(t *testing.T, binary string) {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"synchronous_commit": "on"})
	b := prepare(t, pgtest.On(t, server, installed), binary)
	b.hold(t, day)
	worker := b.worker(t)
	b.request(t, day)
	b.awaitHeld(t, day)
	require.NoError(t, server.Stop(t.Context(), pgserver.Immediate))
	b.db.Reset()
	require.NoError(t, server.Start(t.Context()))
	b.release(t)
	b.awaitComplete(t, day)
	require.True(t, worker.running())
	require.Contains(t, b.runStates(t, day), "complete")
	b.request(t, day.AddDays(1))
	b.awaitComplete(t, day, day.AddDays(1))
}

// snapshot returns a date's rows, runs, requests and jobs, with the transactions that last wrote them.
func (b *testBundle) snapshot(t *testing.T, d date.Date) []string {
	t.Helper()
	return pgtest.Column[string](t, b.db, `
		SELECT 'metric ' || concat_ws(' ', ctid, xmin, xmax, entity_id, last_updated_at) FROM analytics.daily_entity_metrics
		WHERE metric_date = $1
		UNION ALL SELECT 'date ' || concat_ws(' ', ctid, xmin, d) FROM analytics.rollup_dates AS d WHERE metric_date = $1
		UNION ALL SELECT 'run ' || concat_ws(' ', ctid, xmin, r) FROM analytics.rollup_runs AS r WHERE metric_date = $1
		UNION ALL SELECT 'request ' || concat_ws(' ', ctid, xmin, q) FROM analytics.rollup_requests AS q WHERE metric_date = $1
		UNION ALL SELECT 'job ' || concat_ws(' ', ctid, xmin, j) FROM river_job AS j WHERE args ->> 'date' = $1::date::text
		ORDER BY 1`, d)
}

// requireNothingMore wakes a stopped process after another one has completed its date. It writes nothing more of the date, and still works:
// after the other process has ended, it completes the other dates. Because each process runs one date at a time, the attempt that was replaced
// has ended by then.
func (b *testBundle) requireNothingMore(t *testing.T, stopped, other *process) {
	t.Helper()
	other.signal(t, syscall.SIGTERM)
	require.Zero(t, other.wait(t))
	before := b.snapshot(t, day)
	stopped.signal(t, syscall.SIGCONT)
	b.request(t, day.AddDays(1), day.AddDays(2))
	b.awaitComplete(t, day.AddDays(1), day.AddDays(2))
	var changed []string
	for _, row := range b.snapshot(t, day) {
		if !slices.Contains(before, row) {
			changed = append(changed, row)
		}
	}
	require.Empty(t, changed)
	pgtest.RequireExact(t, b.db)
}

// testStopped stops a worker between two statements, after it has read a part of a date, until the date is handed to another worker and the
// date's events have changed. It publishes nothing of what it had read.
func testStopped(t *testing.T, binary string) {
	t.Helper()
	b := prepare(t, pgtest.Database(t, installed), binary)
	b.db.Do(t, `
		CREATE TABLE public.slow (id integer);
		INSERT INTO public.slow VALUES (1);
		CREATE FUNCTION public.dawdle() RETURNS boolean LANGUAGE plpgsql AS $$
		BEGIN
			IF EXISTS (SELECT FROM public.slow) THEN
				PERFORM pg_sleep(0.05);
			END IF;
			RETURN true;
		END
		$$;
		CREATE OR REPLACE VIEW analytics.events AS
		SELECT entity_id::analytics.entity_id AS entity_id, event_type, created_at FROM public.raw_events
		WHERE (SELECT public.dawdle())`)
	// After a slice that takes a twentieth of a second, it pauses for three seconds.
	stopped := b.worker(t, "--pace", "60")
	b.request(t, day)
	b.db.Wait(t, `EXISTS(SELECT FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE '%name: EventSlice %' AND state = 'idle')`)
	stopped.stop(t)
	b.db.Do(t, "DELETE FROM public.slow")
	other := b.worker(t)
	b.awaitComplete(t, day)

	b.db.Do(t, "DELETE FROM public.raw_events WHERE created_at < '2026-03-01 06:00+00'")
	b.request(t, day)
	b.db.Wait(t, "(SELECT count(*) = 2 FROM analytics.rollup_requests WHERE resolution = 'satisfied')")
	b.db.Wait(t, "NOT EXISTS(SELECT FROM river_job WHERE kind = 'rollup_day' AND finalized_at IS NULL)")
	pgtest.RequireExact(t, b.db, day)
	b.requireNothingMore(t, stopped, other)
	require.Equal(t, []string{"lost", "complete", "complete"}, b.runStates(t, day))
}

// testStoppedInTransaction stops a worker while a batch's transaction is open, which has a lock on the date.
func testStoppedInTransaction(t *testing.T, binary string) {
	t.Helper()
	b := prepare(t, pgtest.Database(t, installed), binary)
	b.hold(t, day)
	stopped := b.worker(t)
	b.request(t, day)
	b.awaitHeld(t, day)
	other := b.worker(t)
	pid := pgtest.Value[int](t, b.db, `SELECT pid FROM pg_stat_activity WHERE datname = current_database()
		AND application_name = 'daymill worker' AND query LIKE 'copy %' AND state = 'active'`)
	stopped.stop(t)
	b.release(t)
	// The transaction is idle then, or was ended if the worker was stopped before it had sent all rows.
	b.db.Wait(t, "NOT EXISTS(SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active')", pid)
	b.awaitComplete(t, day)
	b.requireNothingMore(t, stopped, other)
	require.Equal(t, []string{"lost", "complete"}, b.runStates(t, day))
}

// testTerminated ends a worker as platforms do in a deploy.
func testTerminated(t *testing.T, binary string) {
	t.Helper()
	b := prepare(t, pgtest.Database(t, installed), binary)
	b.hold(t, day)
	worker := b.worker(t)
	b.request(t, day)
	b.awaitHeld(t, day)
	worker.signal(t, syscall.SIGTERM)
	terminated := time.Now()
	require.Zero(t, worker.wait(t), "the exit code")
	require.Less(t, time.Since(terminated), 15*time.Second)
	require.Equal(t, []string{"available 0"},
		pgtest.Column[string](t, b.db, "SELECT state || ' ' || attempt FROM river_job WHERE kind = 'rollup_day'"))
	require.Equal(t, []string{"interrupted"}, b.runStates(t, day))
	require.Equal(t, "retrying", pgtest.Value[string](t, b.db, "SELECT state FROM analytics.date_states WHERE metric_date = $1", day))

	b.release(t)
	again := time.Now()
	b.worker(t)
	b.awaitComplete(t, day)
	require.Less(t, time.Since(again), 15*time.Second)
	require.Equal(t, []string{"interrupted", "complete"}, b.runStates(t, day))
	require.EqualValues(t, 1, pgtest.Value[int64](t, b.db, "SELECT rows_inserted FROM analytics.rollup_runs WHERE state = 'complete'"),
		"it should continue where it stopped")
}

// testTerminatedWithOpenImport ends a worker while an open import locks the row of the running job.
func testTerminatedWithOpenImport(t *testing.T, binary string) {
	t.Helper()
	b := prepare(t, pgtest.Database(t, installed), binary)
	b.hold(t, day)
	worker := b.worker(t)
	b.request(t, day)
	b.awaitHeld(t, day)
	app, err := river.NewClient(riverpgxv5.New(b.db.Application(t)), &river.Config{})
	require.NoError(t, err)
	require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
		result, err := app.InsertTx(t.Context(), tx, jobs.RollupDayArgs{Date: day}, nil)
		require.NoError(t, err)
		require.True(t, result.UniqueSkippedAsDuplicate)
		worker.signal(t, syscall.SIGTERM)
		terminated := time.Now()
		require.Zero(t, worker.wait(t), "the exit code")
		require.Less(t, time.Since(terminated), 15*time.Second)
		return nil
	}))
	require.Equal(t, []string{"interrupted"}, b.runStates(t, day))
	b.release(t)
	b.worker(t)
	b.awaitComplete(t, day)
}
