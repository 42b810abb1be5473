package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/jobs"
)

// breakSource makes every read of the events fail, until repairSource.
func (b *testBundle) breakSource(t *testing.T) {
	t.Helper()
	b.db.Do(t, `
		CREATE TABLE IF NOT EXISTS public.broken (id integer);
		INSERT INTO public.broken VALUES (1);
		CREATE OR REPLACE FUNCTION public.check_source() RETURNS boolean LANGUAGE plpgsql AS $$
		BEGIN
			IF EXISTS (SELECT FROM public.broken) THEN
				RAISE EXCEPTION 'the source is broken';
			END IF;
			RETURN true;
		END
		$$;
		CREATE OR REPLACE VIEW analytics.events AS
		SELECT entity_id::analytics.entity_id AS entity_id, event_type, created_at FROM public.raw_events
		WHERE (SELECT public.check_source())`)
}

func (b *testBundle) repairSource(t *testing.T) {
	t.Helper()
	b.db.Do(t, "DELETE FROM public.broken")
}

// job returns the only job of a date.
func (b *testBundle) job(t *testing.T, d date.Date) *rivertype.JobRow {
	t.Helper()
	id := pgtest.Value[int64](t, b.db, "SELECT id FROM river_job WHERE kind = 'rollup_day' AND args ->> 'date' = $1", d.String())
	job, err := b.app.JobGet(t.Context(), id)
	require.NoError(t, err)
	return job
}

func (b *testBundle) dateState(t *testing.T, d date.Date) string {
	t.Helper()
	return pgtest.Value[string](t, b.db, "SELECT coalesce((SELECT state FROM analytics.date_states WHERE metric_date = $1), 'none')", d)
}

func (b *testBundle) awaitJobState(t *testing.T, id int64, state rivertype.JobState) {
	t.Helper()
	b.db.Wait(t, "EXISTS(SELECT FROM river_job WHERE id = $1 AND state = $2)", id, string(state))
}

func TestFailing(t *testing.T) {
	t.Parallel()

	t.Run("Discarded", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.breakSource(t)
		result, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: day}, nil)
		require.NoError(t, err)
		id := result.Job.ID
		b.start(t)

		// The first attempt is repeated after a second, the second after 16.
		b.awaitJobState(t, id, rivertype.JobStateRetryable)
		job := b.job(t, day)
		require.Equal(t, 2, job.Attempt)
		require.Equal(t, 10, job.MaxAttempts)
		require.WithinRange(t, job.ScheduledAt, job.AttemptedAt.Add(14*time.Second), job.AttemptedAt.Add(20*time.Second))
		require.Len(t, job.Errors, 2)
		require.Contains(t, job.Errors[0].Error, "the source is broken")
		require.Equal(t, "retrying", b.dateState(t, day))
		failed := "failed: read events from 2026-03-01T00:00:00Z: ERROR: the source is broken (SQLSTATE P0001)"
		require.Equal(t, []string{failed, failed}, pgtest.Column[string](t, b.db, "SELECT state || ': ' || error FROM analytics.rollup_runs"))

		// The schedule's request waits with the first one, because there is a job, and nothing was fixed.
		b.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date, requested_via, priority) VALUES ($1, 'schedule', 2)", day)
		b.awaitLooks(t)
		require.Equal(t, id, b.job(t, day).ID)
		require.EqualValues(t, 2, b.runs(t))

		b.db.Do(t, "UPDATE river_job SET attempt = 9, state = 'available', scheduled_at = now() WHERE id = $1", id)
		b.awaitJobState(t, id, rivertype.JobStateDiscarded)
		require.Equal(t, "failed", b.dateState(t, day))
		require.Equal(t, []string{"failed", "failed"}, b.resolutions(t, day))
		b.requireQuiet(t)

		b.repairSource(t)
		b.request(t, day)
		b.awaitDone(t)
		require.Equal(t, []string{"discarded", "completed"}, b.jobStates(t, day))
		require.Equal(t, []string{"failed", "failed", "satisfied"}, b.resolutions(t, day))
		require.Equal(t, "complete", b.dateState(t, day))
		require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	})

	// A request that arrives during the last attempt does not fail with it, because its events may fix the date.
	t.Run("RequestDuringLastAttempt", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.hold(t, day)
		b.db.Do(t, "ALTER TABLE analytics.daily_entity_metrics ADD CONSTRAINT refuse CHECK (entity_id <> "+highest+") NOT VALID")
		result, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: day}, nil)
		require.NoError(t, err)
		b.db.Do(t, "UPDATE river_job SET attempt = 9 WHERE id = $1", result.Job.ID)
		b.start(t)
		b.awaitHeld(t, day)
		require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "DELETE FROM public.raw_events WHERE entity_id = "+highest)
			if err == nil {
				_, err = b.app.InsertTx(t.Context(), tx, jobs.RollupDayArgs{Date: day}, nil)
			}
			return err
		}))
		b.release(t, day)
		b.awaitDone(t)
		require.Equal(t, []string{"failed", "satisfied"}, b.resolutions(t, day))
		require.Equal(t, []string{"discarded", "completed"}, b.jobStates(t, day))
		require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	})
}

// TestDashboard changes jobs as dashboards allow.
func TestDashboard(t *testing.T) {
	t.Parallel()

	// requireFresh requests the date again, and requires it to become complete.
	requireFresh := func(t *testing.T, b *testBundle) {
		t.Helper()
		b.request(t, day)
		b.awaitDone(t)
		require.Equal(t, "complete", b.dateState(t, day))
		require.Positive(t, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	}

	t.Run("CancelRunning", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.hold(t, day)
		b.start(t)
		b.request(t, day)
		b.awaitHeld(t, day)
		b.request(t, day)
		id := b.job(t, day).ID
		_, err := b.app.JobCancel(t.Context(), id)
		require.NoError(t, err)
		b.awaitJobState(t, id, rivertype.JobStateCancelled)
		require.Equal(t, "cancelled", b.dateState(t, day))
		require.Equal(t, []string{"cancelled", "cancelled"}, b.resolutions(t, day))
		require.Equal(t, []string{"cancelled"}, pgtest.Column[string](t, b.db, "SELECT state FROM analytics.rollup_runs"))
		b.requireQuiet(t)
		b.release(t, day)
		requireFresh(t, b)
	})

	t.Run("CancelWaiting", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		result, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: day}, nil)
		require.NoError(t, err)
		b.request(t, day)
		require.Equal(t, "requested", b.dateState(t, day))
		_, err = b.app.JobCancel(t.Context(), result.Job.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"cancelled", "cancelled"}, b.resolutions(t, day))
		require.Equal(t, "none", b.dateState(t, day))
		b.start(t)
		b.requireQuiet(t)
		require.Zero(t, b.runs(t))
		requireFresh(t, b)
	})

	t.Run("CancelRetryable", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.breakSource(t)
		result, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: day}, nil)
		require.NoError(t, err)
		b.start(t)
		b.awaitJobState(t, result.Job.ID, rivertype.JobStateRetryable)
		b.repairSource(t)
		_, err = b.app.JobCancel(t.Context(), result.Job.ID)
		require.NoError(t, err)
		require.Equal(t, "cancelled", b.dateState(t, day))
		require.Equal(t, []string{"cancelled"}, b.resolutions(t, day))
		b.requireQuiet(t)
		requireFresh(t, b)
	})

	t.Run("DeleteFinished", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.start(t)
		b.request(t, day)
		b.awaitDone(t)
		id := b.job(t, day).ID
		b.db.Do(t, lateEventSQL)
		b.hold(t, day)
		b.request(t, day)
		b.db.Wait(t, "(SELECT state = 'running' AND cursor IS NOT NULL FROM analytics.rollup_dates)")
		_, err := b.app.JobDelete(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, []string{"satisfied", "open"}, b.resolutions(t, day), "deleting a finished job withdraws no request")
		b.release(t, day)
		b.awaitDone(t)
	})

	t.Run("DeleteWaiting", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		result, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: day}, nil)
		require.NoError(t, err)
		_, err = b.app.JobDelete(t.Context(), result.Job.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"cancelled"}, b.resolutions(t, day))
		b.start(t)
		b.requireQuiet(t)
		require.Zero(t, b.runs(t))
		requireFresh(t, b)
	})

	t.Run("RetryNow", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.breakSource(t)
		result, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: day}, nil)
		require.NoError(t, err)
		b.start(t)
		b.awaitJobState(t, result.Job.ID, rivertype.JobStateRetryable)
		b.repairSource(t)
		_, err = b.app.JobRetry(t.Context(), result.Job.ID)
		require.NoError(t, err)
		b.awaitDone(t)
		require.Equal(t, []string{"satisfied"}, b.resolutions(t, day))
		b.requireQuiet(t)
	})
}

// attempted is the condition that a job has ended or will be retried.
const attempted = "(SELECT finalized_at IS NOT NULL OR cardinality(coalesce(errors, '{}')) > 0 FROM river_job WHERE id = $1)"

// TestGarbage inserts jobs whose date cannot be rolled up. The inserting transaction succeeds, and the job says once what is wrong with it.
func TestGarbage(t *testing.T) { //nolint:tparallel // Its jobs share a worker.
	t.Parallel()
	b := setupUnscheduled(t)
	tomorrow := pgtest.Today(t, time.UTC).AddDays(1)
	tests := map[string]struct{ args, message string }{
		"Array":    {`[]`, "cannot unmarshal array"},
		"Empty":    {`{}`, "its arguments should be"},
		"Infinity": {`{"date": "infinity"}`, `"infinity" is not a date: write it as 2026-03-01`},
		"NoDate":   {`{"date": "2026-02-30"}`, `"2026-02-30" is not a date: write it as 2026-03-01`},
		"Null":     {`{"date": null}`, "its arguments should be"},
		"Number":   {`{"date": 20260301}`, "cannot unmarshal number into Go struct field RollupDayArgs.date"},
		"Text":     {`{"date": "yesterday"}`, `"yesterday" is not a date: write it as 2026-03-01`},
		"Time":     {`{"date": "2026-03-01T00:00:00Z"}`, `"2026-03-01T00:00:00Z" is not a date: write it as 2026-03-01`},
		"Tomorrow": {fmt.Sprintf(`{"date": "%s"}`, tomorrow), "the date is not over"},
	}
	ids := make(map[string]int64)
	require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
		for name, test := range tests {
			var id int64
			err := tx.QueryRow(t.Context(), `INSERT INTO river_job (args, kind, max_attempts)
				VALUES ($1, 'rollup_day', 25) RETURNING id`, test.args).Scan(&id)
			if err != nil {
				return err
			}
			ids[name] = id
		}
		return nil
	}))
	b.start(t)
	for name, test := range tests { //nolint:paralleltest // See above.
		t.Run(name, func(t *testing.T) {
			b.db.Wait(t, attempted, ids[name])
			job, err := b.app.JobGet(t.Context(), ids[name])
			require.NoError(t, err)
			text := string(job.Output())
			if len(job.Errors) > 0 {
				text = job.Errors[0].Error
			}
			require.Contains(t, text, test.message)
			require.NotNil(t, job.FinalizedAt, "a retry is useless: %s", text)
			require.Equal(t, jobs.QueueRollup, job.Queue)
		})
	}
	require.Zero(t, b.runs(t))
	require.Equal(t, []date.Date{tomorrow}, pgtest.Column[date.Date](t, b.db, "SELECT metric_date FROM analytics.rollup_requests"),
		"that one waits until its date is over")
}

// TestGarbageBackfill is TestGarbage for the job that starts a backfill.
func TestGarbageBackfill(t *testing.T) { //nolint:tparallel // Its jobs share a worker.
	t.Parallel()
	b := setupUnscheduled(t)
	tests := map[string]struct{ args, message string }{
		"Empty":    {`{}`, "a backfill needs a first and a last date"},
		"Future":   {`{"from": "2026-03-01", "to": "3026-03-01"}`, "a backfill takes dates that are over"},
		"InFlight": {`{"from": "2026-03-01", "to": "2026-03-01", "in_flight": 101}`, "the dates in flight must be from 1 to 100"},
		"NoDate":   {`{"from": "2026-02-30", "to": "2026-03-01"}`, `"2026-02-30" is not a date: write it as 2026-03-01`},
		"NoFrom":   {`{"to": "2026-03-01"}`, "a backfill needs a first and a last date"},
		"NoTo":     {`{"from": "2026-03-01"}`, "a backfill needs a first and a last date"},
		"Pause":    {`{"from": "2026-03-01", "to": "2026-03-01", "pause_seconds": -1}`, "the pause must be from 0 to 24 hours"},
		"Reversed": {`{"from": "2026-03-01", "to": "2026-02-01"}`, "reversed"},
		"Zero":     {`{"from": "", "to": ""}`, `"" is not a date: write it as 2026-03-01`},
	}
	ids := make(map[string]int64)
	for name, test := range tests {
		ids[name] = pgtest.Value[int64](t, b.db, `INSERT INTO river_job (args, kind, max_attempts, queue)
			VALUES ($1::jsonb, 'backfill', 25, 'daymill_control') RETURNING id`, test.args)
	}
	b.start(t)
	for name, test := range tests { //nolint:paralleltest // See above.
		t.Run(name, func(t *testing.T) {
			b.db.Wait(t, attempted, ids[name])
			job, err := b.app.JobGet(t.Context(), ids[name])
			require.NoError(t, err)
			require.NotEmpty(t, job.Errors)
			require.Contains(t, job.Errors[0].Error, test.message)
			require.Equal(t, rivertype.JobStateCancelled, job.State, job.Errors[0].Error)
		})
	}
	require.Zero(t, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.backfills"))
}

// TestScheduledForLater inserts jobs that will run later: of a date that is over, and of one that is not even over the day after tomorrow.
func TestScheduledForLater(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	future := pgtest.Today(t, time.UTC).AddDays(2)
	b.start(t)
	for _, d := range []date.Date{day, future} {
		b.db.InsertDate(t, d, 100, 40)
		_, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: d}, &river.InsertOpts{ScheduledAt: at(future.AddDays(1), 3)})
		require.NoError(t, err)
	}
	b.awaitLooks(t)
	for _, d := range []date.Date{day, future} {
		require.Equal(t, []string{"scheduled"}, b.jobStates(t, d))
		require.Equal(t, []string{"open"}, b.resolutions(t, d))
	}
	// Later, the date is over.
	over := future.AddDays(-7)
	b.db.InsertDate(t, over, 100, 40)
	b.db.Do(t, "DELETE FROM public.raw_events WHERE created_at >= analytics.date_start($1)", future)
	b.db.Do(t, `UPDATE public.river_job SET args = jsonb_build_object('date', $1::text) WHERE args ->> 'date' = $2::text`, over.String(), future.String())
	b.db.Do(t, "UPDATE analytics.rollup_requests SET metric_date = $1 WHERE metric_date = $2", over, future)
	b.arrive(t)
	b.awaitDone(t)
	require.EqualValues(t, 200, pgtest.RequireExact(t, b.db).Events)
	b.requireQuiet(t)
}
