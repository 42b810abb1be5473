package worker_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
)

// asks returns the ways in which an import requests a date.
func asks() map[string]func(t *testing.T, b *testBundle, tx pgx.Tx, d date.Date) {
	return map[string]func(t *testing.T, b *testBundle, tx pgx.Tx, d date.Date){
		"EnqueueDay": func(t *testing.T, b *testBundle, tx pgx.Tx, d date.Date) {
			t.Helper()
			require.NoError(t, jobs.EnqueueDay(t.Context(), tx, b.app, d))
		},
		"RiverInsert": func(t *testing.T, b *testBundle, tx pgx.Tx, d date.Date) {
			t.Helper()
			_, err := b.app.InsertTx(t.Context(), tx, jobs.RollupDayArgs{Date: d}, nil)
			require.NoError(t, err)
		},
		"SQL": func(t *testing.T, _ *testBundle, tx pgx.Tx, d date.Date) {
			t.Helper()
			_, err := tx.Exec(t.Context(), "SELECT analytics.enqueue_rollup($1)", d)
			require.NoError(t, err)
		},
	}
}

// openImport begins a transaction of an application, which the test commits. None of its statements waits for a lock.
func (b *testBundle) openImport(t *testing.T) pgx.Tx {
	t.Helper()
	tx, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(t.Context()) }) // No effect after the commit.
	_, err = tx.Exec(t.Context(), "SET LOCAL lock_timeout = '50ms'")
	require.NoError(t, err)
	return tx
}

// awaitServed returns once dates are complete, and so are their jobs.
func (b *testBundle) awaitServed(t *testing.T, served ...date.Date) {
	t.Helper()
	for _, d := range served {
		b.db.Wait(t, `EXISTS(SELECT FROM analytics.date_states AS s WHERE s.metric_date = $1 AND s.state = 'complete')
			AND EXISTS(SELECT FROM river_job WHERE args ->> 'date' = $1::date::text AND state = 'completed')
			AND NOT EXISTS(SELECT FROM river_job WHERE args ->> 'date' = $1::date::text AND state <> 'completed')`, d)
	}
}

// TestOpenTransaction keeps an import open that has requested a date. Until it commits, all other dates are rolled up. After the commit, its own
// date is exact.
func TestOpenTransaction(t *testing.T) {
	t.Parallel()
	all := dates(4)
	others := all[1:]

	for name, ask := range asks() {
		// The date's run is running when the import requests it, and ends while the import is open.
		t.Run("Running/"+name, func(t *testing.T) {
			t.Parallel()
			b := setupUnscheduled(t)
			for _, d := range all {
				b.db.InsertDate(t, d, 100, 40)
			}
			b.hold(t, day)
			b.start(t)
			b.request(t, day)
			b.awaitHeld(t, day)

			tx := b.openImport(t)
			lateEvent(t, tx)
			ask(t, b, tx, day)
			b.request(t, others[0])
			b.awaitServed(t, others[0])
			b.release(t, day)
			b.db.Wait(t, "EXISTS(SELECT FROM analytics.rollup_dates WHERE metric_date = $1 AND state = 'complete')", day)
			b.request(t, others...)
			b.awaitServed(t, others...)
			require.EqualValues(t, 101, pgtest.RequireExact(t, b.db, day).Events, "the import is still open")
			require.NoError(t, tx.Commit(t.Context()))
			b.awaitDone(t)
			require.EqualValues(t, 402, pgtest.RequireExact(t, b.db).Events)
			b.requireQuiet(t)
		})

		// When the import requests the date, its job is in the queue, and no worker has taken it yet.
		t.Run("Waiting/"+name, func(t *testing.T) {
			t.Parallel()
			b := setupUnscheduled(t)
			for _, d := range all {
				b.db.InsertDate(t, d, 100, 40)
			}
			_, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: day}, nil)
			require.NoError(t, err)
			tx := b.openImport(t)
			lateEvent(t, tx)
			ask(t, b, tx, day)
			b.start(t)
			b.request(t, others...)
			b.awaitServed(t, others...)
			require.NoError(t, tx.Commit(t.Context()))
			b.awaitDone(t)
			require.EqualValues(t, 401, pgtest.RequireExact(t, b.db).Events)
			b.requireQuiet(t)
		})

		// Nobody has requested the date before. Then others request it, who must not wait for the import.
		t.Run("Unknown/"+name, func(t *testing.T) {
			t.Parallel()
			b := setupUnscheduled(t)
			for _, d := range all {
				b.db.InsertDate(t, d, 100, 40)
			}
			b.start(t)
			tx := b.openImport(t)
			lateEvent(t, tx)
			ask(t, b, tx, day)
			b.request(t, all...)
			b.awaitServed(t, others...)
			require.NoError(t, tx.Commit(t.Context()))
			b.awaitDone(t)
			require.EqualValues(t, 401, pgtest.RequireExact(t, b.db).Events)
			b.requireQuiet(t)
		})
	}

	t.Run("TwoForOneDate", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.start(t)
		first, second := b.openImport(t), b.openImport(t)
		for _, tx := range []pgx.Tx{first, second} {
			lateEvent(t, tx)
			require.NoError(t, jobs.EnqueueDay(t.Context(), tx, b.app, day))
		}
		require.NoError(t, second.Commit(t.Context()))
		b.db.Wait(t, "EXISTS(SELECT FROM analytics.rollup_requests WHERE resolution = 'satisfied')")
		require.EqualValues(t, 101, pgtest.RequireExact(t, b.db).Events)
		require.NoError(t, first.Commit(t.Context()))
		b.awaitDone(t)
		require.EqualValues(t, 102, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	})

	t.Run("RolledBack", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.start(t)
		tx := b.openImport(t)
		lateEvent(t, tx)
		for _, ask := range asks() {
			ask(t, b, tx, day)
		}
		require.NoError(t, tx.Rollback(t.Context()))
		b.requireQuiet(t)
		require.Zero(t, b.runs(t))
		require.Empty(t, b.jobStates(t, day))
	})
}

// TestOpenTransactionFailing: a date's run fails while an open import has requested the date. River must not wait for the import to record the
// failure, because it records the ends of several jobs in one statement.
func TestOpenTransactionFailing(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	other := day.AddDays(1)
	b.db.InsertDate(t, day, 100, 40)
	b.db.InsertDate(t, other, 100, 40)
	b.hold(t, day)
	b.db.Do(t, `
		CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			RAISE EXCEPTION 'refused by the test';
		END
		$$;
		CREATE TRIGGER refuse BEFORE INSERT ON analytics.daily_entity_metrics
		FOR EACH ROW WHEN (NEW.entity_id = `+highest+`) EXECUTE FUNCTION public.refuse()`)
	b.start(t)
	b.request(t, day)
	b.awaitHeld(t, day)
	tx := b.openImport(t)
	lateEvent(t, tx)
	result, err := b.app.InsertTx(t.Context(), tx, jobs.RollupDayArgs{Date: day}, nil)
	require.NoError(t, err)
	require.True(t, result.UniqueSkippedAsDuplicate)
	b.release(t, day)
	b.db.Wait(t, "EXISTS(SELECT FROM analytics.rollup_runs WHERE metric_date = $1 AND state = 'failed')", day)

	b.request(t, other)
	b.awaitServed(t, other)
	require.Equal(t, []string{string(rivertype.JobStateRunning)}, b.jobStates(t, day))
	b.db.Do(t, "DROP TRIGGER refuse ON analytics.daily_entity_metrics")
	require.NoError(t, tx.Commit(t.Context()))
	b.awaitDone(t)
	require.EqualValues(t, 202, pgtest.RequireExact(t, b.db).Events)
	b.requireQuiet(t)
}

// TestOpenTransactionOneWorker is TestOpenTransaction for a process that runs one date at a time. A date whose run has ended, but whose job's end
// cannot be recorded before the import ends, must not prevent other dates from running.
func TestOpenTransactionOneWorker(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	other := day.AddDays(1)
	b.db.InsertDate(t, day, 100, 40)
	b.db.InsertDate(t, other, 100, 40)
	b.hold(t, day)
	b.start(t, func(config *worker.Config) { config.Workers = 1 })
	b.request(t, day)
	b.awaitHeld(t, day)
	tx := b.openImport(t)
	lateEvent(t, tx)
	result, err := b.app.InsertTx(t.Context(), tx, jobs.RollupDayArgs{Date: day}, nil)
	require.NoError(t, err)
	require.True(t, result.UniqueSkippedAsDuplicate)
	b.release(t, day)
	b.request(t, other)
	b.db.Wait(t, "EXISTS(SELECT FROM analytics.date_states WHERE metric_date = $1 AND state = 'complete')", other)
	require.NoError(t, tx.Commit(t.Context()))
	b.awaitDone(t)
	require.EqualValues(t, 202, pgtest.RequireExact(t, b.db).Events)
	b.requireQuiet(t)
}

// TestOpenTransactionAfterRun opens the import between the end of the date's run and the end of its job, which River records within a quarter of a
// second. (If that is too short, the import inserts its own job.)
func TestOpenTransactionAfterRun(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	other := day.AddDays(1)
	b.db.InsertDate(t, day, 100, 40)
	b.db.InsertDate(t, other, 100, 40)
	b.hold(t, day)
	b.start(t)
	b.request(t, day)
	b.awaitHeld(t, day)
	tx := b.openImport(t)
	lateEvent(t, tx)
	b.release(t, day)
	b.db.Wait(t, "EXISTS(SELECT FROM analytics.rollup_dates WHERE metric_date = $1 AND state = 'complete')", day)
	// River holds the job's row while it records its end.
	b.db.Wait(t, "EXISTS(SELECT FROM river_job WHERE args ->> 'date' = $1::date::text AND state = 'completed')", day)
	_, err := b.app.InsertTx(t.Context(), tx, jobs.RollupDayArgs{Date: day}, nil)
	require.NoError(t, err)
	b.request(t, other)
	b.awaitServed(t, other)
	require.NoError(t, tx.Commit(t.Context()))
	b.awaitDone(t)
	require.EqualValues(t, 202, pgtest.RequireExact(t, b.db).Events)
	b.requireQuiet(t)
}

// TestOpenTransactionForLong keeps the import open for so long that the job whose end cannot be recorded looks like the job of a dead worker.
func TestOpenTransactionForLong(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.InsertDate(t, day, 100, 40)
	b.hold(t, day)
	b.start(t)
	b.request(t, day)
	b.awaitHeld(t, day)
	tx := b.openImport(t)
	lateEvent(t, tx)
	result, err := b.app.InsertTx(t.Context(), tx, jobs.RollupDayArgs{Date: day}, nil)
	require.NoError(t, err)
	require.True(t, result.UniqueSkippedAsDuplicate)
	_, err = tx.Exec(t.Context(), "UPDATE river_job SET attempted_at = attempted_at - interval '1 hour' WHERE kind = 'rollup_day'")
	require.NoError(t, err)
	b.release(t, day)
	b.db.Wait(t, "EXISTS(SELECT FROM analytics.rollup_dates WHERE metric_date = $1 AND state = 'complete')", day)
	b.db.Do(t, "UPDATE analytics.rollup_dates SET heartbeat_at = heartbeat_at - interval '1 hour'")
	require.NoError(t, tx.Commit(t.Context()))
	b.awaitDone(t)
	require.EqualValues(t, 102, pgtest.RequireExact(t, b.db).Events)
	require.Equal(t, []string{"satisfied", "satisfied"}, b.resolutions(t, day))
	b.requireQuiet(t)
}
