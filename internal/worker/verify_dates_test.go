package worker_test

import (
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
)

// setupComplete returns a bundle with complete dates and a worker.
func setupComplete(t *testing.T, n int, configure ...func(*worker.Config)) (*testBundle, []date.Date) {
	t.Helper()
	b, all := setupUnscheduled(t), dates(n)
	for _, d := range all {
		b.db.InsertDate(t, d, 200, 50)
	}
	b.request(t, all...)
	b.start(t, configure...)
	b.awaitDone(t)
	return b, all
}

// verify runs the periodic job, and returns its output.
func (b *testBundle) verify(t *testing.T) string {
	t.Helper()
	result, err := b.app.Insert(t.Context(), jobs.VerifyDatesArgs{}, nil)
	require.NoError(t, err)
	b.db.Wait(t, "SELECT state = 'completed' FROM river_job WHERE id = $1", result.Job.ID)
	return pgtest.Value[string](t, b.db, "SELECT coalesce(metadata ->> 'output', '') FROM river_job WHERE id = $1", result.Job.ID)
}

func (b *testBundle) states(t *testing.T) []string {
	t.Helper()
	return pgtest.Column[string](t, b.db, "SELECT state FROM analytics.date_states ORDER BY metric_date")
}

const (
	loseRow  = "DELETE FROM analytics.daily_entity_metrics WHERE metric_date = $1 AND entity_id % 7 = 0"
	loseHalf = "DELETE FROM public.raw_events WHERE analytics.date_of(created_at) = $1 AND id % 2 = 0"
	loseAll  = "DELETE FROM public.raw_events WHERE analytics.date_of(created_at) = $1"
)

func TestVerifyDates(t *testing.T) {
	t.Parallel()

	// The hour was missed, or the leader does not know the job.
	t.Run("CaughtUp", func(t *testing.T) {
		t.Parallel()
		b, _ := setupComplete(t, 2)
		b.db.Do(t, "UPDATE daymill.schedules SET last_due_at = '-infinity', paused_at = NULL WHERE name = 'verify_dates'")
		b.start(t)
		b.db.Wait(t, "SELECT last_due_at > '-infinity' FROM daymill.schedules WHERE name = 'verify_dates'")
		require.EqualValues(t, 2, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.verifications WHERE result = 'exact'"))
	})

	t.Run("InTurn", func(t *testing.T) {
		t.Parallel()
		b, all := setupComplete(t, 3, func(c *worker.Config) { c.VerifyDates = 2 })
		b.db.Do(t, loseRow, all[1])
		require.JSONEq(t, `{"exact": 1, "drifted": 1}`, b.verify(t))
		require.Equal(t, []string{"complete", "stale", "complete"}, b.states(t))
		require.JSONEq(t, `{"exact": 2}`, b.verify(t))
		require.Equal(t, []string{all[0].String(), all[1].String(), all[2].String(), all[0].String()},
			pgtest.Column[string](t, b.db, "SELECT metric_date::text FROM analytics.verifications ORDER BY id"))
		b.requireQuiet(t) // Stale dates are left to a person.
		require.Equal(t, []string{"complete", "stale", "complete"}, b.states(t))
	})

	t.Run("None", func(t *testing.T) {
		t.Parallel()
		b, _ := setupComplete(t, 1, func(c *worker.Config) { c.VerifyDates = 0 })
		b.verify(t)
		require.Zero(t, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.verifications"))
	})

	t.Run("Repair", func(t *testing.T) {
		t.Parallel()
		b, all := setupComplete(t, 3, func(c *worker.Config) { c.VerifyRepair = true })
		b.db.Do(t, loseRow, all[1])
		b.db.Do(t, loseHalf, all[2])
		require.JSONEq(t, `{"exact": 1, "drifted": 2}`, b.verify(t))
		b.awaitDone(t)
		require.Equal(t, []string{"complete", "complete", "stale"}, b.states(t), "events that may have been dropped on purpose are left to a person")
		pgtest.RequireExact(t, b.db, all[:2]...)
	})

	// A date that cannot be verified does not prevent the others, and the job is retried.
	t.Run("Broken", func(t *testing.T) {
		t.Parallel()
		b, all := setupComplete(t, 3)
		b.db.Do(t, `ALTER TABLE public.raw_events ADD COLUMN broken boolean NOT NULL DEFAULT false;
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT entity_id::analytics.entity_id AS entity_id, CASE WHEN broken THEN (1 / (id - id))::text ELSE event_type END AS event_type, created_at
			FROM public.raw_events`)
		b.db.Do(t, "UPDATE public.raw_events SET broken = true WHERE analytics.date_of(created_at) = $1", all[0])
		result, err := b.app.Insert(t.Context(), jobs.VerifyDatesArgs{}, nil)
		require.NoError(t, err)
		b.db.Wait(t, "SELECT coalesce(array_length(errors, 1), 0) > 0 FROM river_job WHERE id = $1", result.Job.ID)
		require.EqualValues(t, 2, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.verifications WHERE result = 'exact'"))
	})

	// Somebody requests certain dates.
	t.Run("Asked", func(t *testing.T) {
		t.Parallel()
		b, all := setupComplete(t, 4)
		b.db.Do(t, loseRow, all[1])
		b.db.Do(t, loseHalf, all[2])
		admin, err := worker.NewAdmin(b.db.DB, b.db.Installation)
		require.NoError(t, err)
		ask := func(args jobs.VerifyDatesArgs) string {
			t.Helper()
			id, enqueued, err := admin.Verify(t.Context(), args, audit.Who{Actor: "anna", Via: audit.ViaWeb})
			require.NoError(t, err)
			require.True(t, enqueued)
			b.db.Wait(t, "SELECT state = 'completed' FROM river_job WHERE id = $1", id)
			return pgtest.Value[string](t, b.db, "SELECT metadata ->> 'output' FROM river_job WHERE id = $1", id)
		}
		require.JSONEq(t, `{"exact": 1, "drifted": 2, "dates": 3}`, ask(jobs.VerifyDatesArgs{From: all[0], To: all[2]}))
		require.Equal(t, []string{"complete", "stale", "stale", "complete"}, b.states(t))
		require.JSONEq(t, `{"exact": 1, "drifted": 2, "dates": 3}`, ask(jobs.VerifyDatesArgs{From: all[0], To: all[2], Repair: true}))
		b.awaitDone(t)
		require.Equal(t, []string{"complete", "complete", "stale", "complete"}, b.states(t), "events that may have been dropped on purpose are left to a person")
		require.JSONEq(t, `{"exact": 3, "drifted": 1, "dates": 4}`, ask(jobs.VerifyDatesArgs{Sample: 7}))
		require.Equal(t, []string{"anna web"}, pgtest.Column[string](t, b.db, "SELECT DISTINCT requested_by || ' ' || requested_via FROM analytics.verifications"))
		require.Equal(t, []string{"verify dates"}, pgtest.Column[string](t, b.db, "SELECT DISTINCT action FROM daymill.audit WHERE actor = 'anna'"))

		for _, args := range []jobs.VerifyDatesArgs{
			{},
			{Repair: true},
			{From: all[0]},
			{To: all[0]},
			{From: all[1], To: all[0]},
			{Sample: -1},
			{Sample: 367},
			{From: all[0], To: all[0], Sample: 1},
			{From: all[0], To: all[0].AddDays(366)},
		} {
			_, _, err := admin.Verify(t.Context(), args, audit.Who{Actor: "anna", Via: audit.ViaWeb})
			require.ErrorIs(t, err, worker.ErrVerify, "%+v", args)
		}
		// A worker also refuses such a job that another client has inserted.
		result, err := b.app.Insert(t.Context(), jobs.VerifyDatesArgs{Sample: 100_000}, nil)
		require.NoError(t, err)
		b.db.Wait(t, "SELECT state = 'cancelled' FROM river_job WHERE id = $1", result.Job.ID)
	})

	// Dates that were verified before a job was interrupted are not verified again.
	t.Run("AskedAgain", func(t *testing.T) {
		t.Parallel()
		b, all := setupComplete(t, 3)
		b.db.Do(t, `INSERT INTO analytics.verifications (metric_date, result, started_at, finished_at, requested_via)
			VALUES ($1, 'exact', now(), now() + interval '1 hour', 'web')`, all[1])
		result, err := b.app.Insert(t.Context(), jobs.VerifyDatesArgs{From: all[0], To: all[2]}, nil)
		require.NoError(t, err)
		b.db.Wait(t, "SELECT state = 'completed' FROM river_job WHERE id = $1", result.Job.ID)
		require.Equal(t, []string{all[0].String(), all[2].String()},
			pgtest.Column[string](t, b.db, "SELECT metric_date::text FROM analytics.verifications WHERE requested_via = 'river' ORDER BY id"))
	})

	// One verification at a time: others wait, and the other worker for control jobs stays free.
	t.Run("OneAtATime", func(t *testing.T) {
		t.Parallel()
		b, all := setupComplete(t, 1)
		lock, err := b.db.Begin(t.Context())
		require.NoError(t, err)
		_, err = lock.Exec(t.Context(), "SELECT FROM analytics.rollup_dates WHERE metric_date = $1 FOR UPDATE", all[0])
		require.NoError(t, err)
		first, err := b.app.Insert(t.Context(), jobs.VerifyDatesArgs{From: all[0], To: all[0]}, nil)
		require.NoError(t, err)
		b.db.Wait(t, "SELECT state = 'running' FROM river_job WHERE id = $1", first.Job.ID)
		second, err := b.app.Insert(t.Context(), jobs.VerifyDatesArgs{Sample: 1}, nil)
		require.NoError(t, err)
		b.db.Wait(t, "SELECT state = 'scheduled' FROM river_job WHERE id = $1", second.Job.ID)
		require.NoError(t, lock.Rollback(t.Context()))
		b.db.Wait(t, "SELECT state = 'completed' FROM river_job WHERE id = $1", first.Job.ID)
	})

	t.Run("Schedule", func(t *testing.T) {
		t.Parallel()
		opts := jobs.VerifyDatesArgs{}.InsertOpts()
		require.Equal(t, jobs.QueueControl, opts.Queue)
		require.Equal(t, river.UniqueOpts{ByArgs: true, ByState: opts.UniqueOpts.ByState}, opts.UniqueOpts)
	})
}

// TestProtectedDates: dates whose events were dropped keep their metrics, no matter who requests them, and every request ends.
func TestProtectedDates(t *testing.T) {
	t.Parallel()

	setup := func(t *testing.T) (*testBundle, []date.Date) {
		t.Helper()
		b, all := setupComplete(t, 3)
		b.db.Do(t, loseAll, all[1])
		return b, all
	}
	kept := func(t *testing.T, b *testBundle, d date.Date) int64 {
		t.Helper()
		return pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.daily_entity_metrics WHERE metric_date = $1", d)
	}

	t.Run("Backfill", func(t *testing.T) {
		t.Parallel()
		b, all := setup(t)
		_, err := b.app.Insert(t.Context(), jobs.BackfillArgs{From: all[0], To: all[2], EveryDate: true}, nil)
		require.NoError(t, err)
		b.db.Wait(t, "EXISTS(SELECT FROM analytics.backfills WHERE state = 'complete')")
		status, err := backfill.List(t.Context(), b.db, 0, 1)
		require.NoError(t, err)
		require.EqualValues(t, 2, status[0].DatesComplete)
		require.EqualValues(t, 1, status[0].DatesProtected)
		require.EqualValues(t, 3, status[0].Done())
		require.Positive(t, kept(t, b, all[1]))
		require.Equal(t, []string{"complete", "protected", "complete"}, b.states(t))
	})

	t.Run("Requests", func(t *testing.T) {
		t.Parallel()
		b, all := setup(t)
		b.db.Do(t, "SELECT analytics.enqueue_rollup($1, $2)", all[0], all[1])
		b.requireQuiet(t)
		require.Equal(t, []string{"complete", "protected", "complete"}, b.states(t))
		require.NotContains(t, b.resolutions(t, all[1]), "open")
		require.Contains(t, b.resolutions(t, all[1]), "protected")
		require.Zero(t, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM river_job WHERE errors IS NOT NULL"), "there is nothing to retry")
		require.Positive(t, kept(t, b, all[1]))

		// A request for the date itself may erase them.
		_, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: all[1]}, nil)
		require.NoError(t, err)
		b.requireQuiet(t)
		require.Zero(t, kept(t, b, all[1]))
		require.Equal(t, []string{"complete", "complete", "complete"}, b.states(t))
	})

	// The daily job requests neither: one would be protected again, and the other is left to a person.
	t.Run("Schedule", func(t *testing.T) {
		t.Parallel()
		b, all := setup(t)
		b.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'protected' WHERE metric_date = $1", all[0])
		b.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'stale' WHERE metric_date = $1", all[2])
		b.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'failed' WHERE metric_date = $1", all[1])
		b.db.Insert(t, pgtest.Event{Entity: "1", Type: "view", At: at(all[1], 12)})
		b.db.Do(t, "UPDATE daymill.schedules SET last_due_at = '-infinity', paused_at = NULL WHERE name = 'daily_rollup'")
		b.db.Do(t, "DELETE FROM river_job WHERE kind = 'daily_rollup'")
		before := time.Now()
		_, err := b.app.Insert(t.Context(), jobs.DailyRollupArgs{}, nil)
		require.NoError(t, err)
		b.db.Wait(t, "EXISTS(SELECT FROM analytics.rollup_requests WHERE requested_via = 'schedule' AND metric_date = $1)", all[1])
		b.awaitDone(t)
		require.Equal(t, []string{all[1].String()}, pgtest.Column[string](t, b.db, `SELECT metric_date::text FROM analytics.rollup_requests
			WHERE requested_at >= $1 AND metric_date <= $2`, before, all[2]))
	})
}
