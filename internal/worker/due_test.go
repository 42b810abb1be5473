package worker_test

import (
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/jobs"
)

// insert inserts a job of the date as an application does.
func (b *testBundle) insert(t *testing.T, d date.Date, opts *river.InsertOpts) *rivertype.JobInsertResult {
	t.Helper()
	result, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: d}, opts)
	require.NoError(t, err)
	return result
}

// arrive makes waiting requests and jobs due.
func (b *testBundle) arrive(t *testing.T) {
	t.Helper()
	b.db.Do(t, "UPDATE analytics.rollup_requests SET due_at = now() WHERE due_at > now()")
	b.db.Do(t, "UPDATE river_job SET scheduled_at = now() WHERE kind = 'rollup_day' AND state = 'scheduled'")
}

// TestScheduledJob inserts a job that is scheduled for later: its request waits, and nothing else does.
func TestScheduledJob(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(100 * 24 * time.Hour).Truncate(time.Microsecond)
	scheduled := &river.InsertOpts{ScheduledAt: later}

	t.Run("Alone", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.start(t)
		b.insert(t, day, scheduled)
		require.WithinDuration(t, later,
			pgtest.Value[time.Time](t, b.db, "SELECT due_at FROM analytics.rollup_requests"), 0)
		require.Equal(t, "waiting", b.dateState(t, day))
		b.awaitLooks(t)
		require.Zero(t, b.runs(t))
		require.Equal(t, []string{"scheduled"}, b.jobStates(t, day))

		b.arrive(t)
		b.awaitDone(t)
		require.Equal(t, []string{"completed"}, b.jobStates(t, day), "its own job satisfies it")
		require.Equal(t, "complete", b.dateState(t, day))
		require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	})

	// Cancelling a job withdraws requests that wait as long as the job, but none that wait longer.
	t.Run("Cancelled", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		job := b.insert(t, day, scheduled).Job
		b.insert(t, day, &river.InsertOpts{ScheduledAt: later.AddDate(0, 0, 1)})
		_, err := b.app.JobCancel(t.Context(), job.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"cancelled", "open"}, b.resolutions(t, day))
		b.start(t)
		b.arrive(t)
		b.awaitDone(t)
		require.Equal(t, []string{"cancelled", "satisfied"}, b.resolutions(t, day))
		b.requireQuiet(t)
	})

	// The daily job requests a date although somebody has requested it for a later time.
	t.Run("Daily", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.db.InsertDate(t, day, 100, 40)
		b.insert(t, day, scheduled)
		b.start(t)
		b.db.Wait(t, "EXISTS(SELECT FROM analytics.date_states WHERE metric_date = $1 AND state = 'complete')", day)
		require.Equal(t, []string{"open", "satisfied"}, b.resolutions(t, day))
		require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
	})

	// Somebody starts the job now.
	t.Run("Early", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.start(t)
		job := b.insert(t, day, scheduled).Job
		_, err := b.app.JobRetry(t.Context(), job.ID)
		require.NoError(t, err)
		b.db.Wait(t, "EXISTS(SELECT FROM analytics.date_states WHERE metric_date = $1 AND state = 'complete')", day)
		require.Equal(t, []string{"open", "satisfied"}, b.resolutions(t, day))
		b.arrive(t)
		b.awaitDone(t)
		require.Equal(t, []string{"satisfied", "satisfied"}, b.resolutions(t, day))
		b.requireQuiet(t)
	})

	// A request that is due now starts the job now. The later request gets its own job in time.
	t.Run("Promoted", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.start(t)
		job := b.insert(t, day, &river.InsertOpts{ScheduledAt: later, Priority: 4}).Job
		require.True(t, b.insert(t, day, scheduled).UniqueSkippedAsDuplicate)
		b.request(t, day)
		b.awaitJobState(t, job.ID, rivertype.JobStateCompleted)
		require.Equal(t, []string{"open", "open", "satisfied"}, b.resolutions(t, day))
		require.Equal(t, "complete", b.dateState(t, day))
		require.Equal(t, jobs.PriorityRequest, b.job(t, day).Priority)
		b.awaitLooks(t)
		require.EqualValues(t, 1, b.runs(t), "nothing else is due")

		b.db.Do(t, lateEventSQL)
		b.arrive(t)
		b.awaitDone(t)
		require.Equal(t, []string{"completed", "completed"}, b.jobStates(t, day))
		require.Equal(t, []string{"satisfied", "satisfied", "satisfied"}, b.resolutions(t, day))
		require.EqualValues(t, 101, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	})

	// A request becomes due while a run is running, which has not read everything that the request needs.
	t.Run("RunUnderWay", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 600, 200)
		b.hold(t, day)
		b.start(t)
		b.request(t, day)
		b.awaitHeld(t, day)
		require.True(t, b.insert(t, day, scheduled).UniqueSkippedAsDuplicate)
		b.db.Do(t, lateEventSQL)
		b.release(t, day)
		b.awaitJobState(t, b.job(t, day).ID, rivertype.JobStateCompleted)
		require.Equal(t, []string{"satisfied", "open"}, b.resolutions(t, day))
		b.arrive(t)
		b.awaitDone(t)
		require.EqualValues(t, 602, pgtest.RequireExact(t, b.db).Events)
		require.EqualValues(t, 2, b.runs(t))
		b.requireQuiet(t)
	})
}

// TestFutureDate inserts a job of a future date. It has nothing to do; its request waits until the date is over.
func TestFutureDate(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	process := b.start(t)
	future := pgtest.Today(t, time.UTC).AddDays(3)
	b.insert(t, future, nil)
	b.db.Wait(t, "EXISTS(SELECT FROM river_job WHERE kind = 'rollup_day' AND state = 'completed')")
	b.awaitLooks(t)
	require.Equal(t, []string{"completed"}, b.jobStates(t, future))
	require.Equal(t, []string{"open"}, b.resolutions(t, future))
	require.Equal(t, "waiting", b.dateState(t, future))
	require.True(t, pgtest.Value[bool](t, b.db,
		"SELECT due_at = analytics.date_start($1::date + 1) FROM analytics.date_states WHERE metric_date = $1", future))
	require.Zero(t, b.runs(t))

	// It is not enough that the worker considers the date over: Postgres decides.
	b.db.InsertDate(t, future, 100, 40)
	process.clock.set(at(future.AddDays(1), 0))
	b.awaitLooks(t)
	require.Zero(t, b.runs(t))

	// Later, the date is over.
	over := future.AddDays(-7)
	b.db.InsertDate(t, over, 100, 40)
	b.db.Do(t, "DELETE FROM public.raw_events WHERE created_at >= now()")
	b.db.Do(t, "UPDATE analytics.rollup_requests SET metric_date = $1 WHERE metric_date = $2", over, future)
	b.awaitDone(t)
	require.Equal(t, []string{"satisfied"}, b.resolutions(t, over))
	require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
	b.requireQuiet(t)
}

// TestUnfitDate inserts a date that the ledger cannot store: that does not fail the transaction.
func TestUnfitDate(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.Do(t, `INSERT INTO river_job (args, kind, max_attempts) VALUES ('{"date": "0000-01-01"}', 'rollup_day', 25)`)
	require.Zero(t, b.openRequests(t))
}

// TestPendingJob inserts a job that waits until somebody releases it, which may never happen.
func TestPendingJob(t *testing.T) {
	t.Parallel()
	pending := &river.InsertOpts{Pending: true}

	t.Run("Cancelled", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		job := b.insert(t, day, pending).Job
		b.request(t, day)
		_, err := b.app.JobCancel(t.Context(), job.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"open"}, b.resolutions(t, day), "it has no request that cancelling could withdraw")
	})

	t.Run("Held", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.start(t)
		b.insert(t, day, pending)
		b.awaitLooks(t)
		require.Zero(t, b.openRequests(t))
		require.Equal(t, []string{"pending"}, b.jobStates(t, day))

		// It does not block other requests.
		b.request(t, day)
		b.insert(t, day, nil)
		b.db.Wait(t, "NOT EXISTS(SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)")
		require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
		require.Equal(t, "pending", b.jobStates(t, day)[0])
	})

	t.Run("Released", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 600, 200)
		b.hold(t, day)
		b.start(t)
		b.request(t, day)
		b.awaitHeld(t, day)
		result := b.insert(t, day, pending)
		require.False(t, result.UniqueSkippedAsDuplicate, "it must exist so that it can be released")
		b.db.Do(t, lateEventSQL)
		_, err := b.app.JobRetry(t.Context(), result.Job.ID)
		require.NoError(t, err)
		b.release(t, day)
		b.awaitDone(t)
		require.EqualValues(t, 602, pgtest.RequireExact(t, b.db).Events)
		require.Equal(t, []string{"satisfied", "satisfied"}, b.resolutions(t, day))
		b.requireQuiet(t)
	})
}

// backdate moves the beginning of the last attempt into the past.
func (b *testBundle) backdate(t *testing.T, by time.Duration) {
	t.Helper()
	b.db.Do(t, "UPDATE river_job SET attempted_at = attempted_at - $1::interval WHERE kind = 'rollup_day'", by)
}

// askedLongAgo makes all requests an hour old.
func (b *testBundle) askedLongAgo(t *testing.T) {
	t.Helper()
	b.db.Do(t, "UPDATE analytics.rollup_requests SET requested_at = requested_at - interval '1 hour', due_at = due_at - interval '1 hour'")
}

// TestBackoff: while a job waits between two attempts, others request its date.
func TestBackoff(t *testing.T) {
	t.Parallel()
	// failing makes the date fail, with a backoff that is longer than the test.
	failing := func(t *testing.T) (*testBundle, int64) {
		t.Helper()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		b.breakSource(t)
		job := b.insert(t, day, nil).Job
		b.askedLongAgo(t)
		b.db.Do(t, "UPDATE river_job SET attempt = 8, errors = ARRAY(SELECT jsonb_build_object('at', now(), 'error', '', 'attempt', i) "+
			"FROM generate_series(1, 8) AS i) WHERE id = $1", job.ID)
		b.start(t)
		b.awaitJobState(t, job.ID, rivertype.JobStateRetryable)
		return b, job.ID
	}

	t.Run("Person", func(t *testing.T) {
		t.Parallel()
		b, id := failing(t)
		// The request fixes nothing yet, and uses up no attempt. It counts from a minute after the last attempt on.
		b.request(t, day)
		b.awaitLooks(t)
		require.Equal(t, rivertype.JobStateRetryable, b.job(t, day).State)
		b.backdate(t, 2*time.Minute)
		b.db.Wait(t, "(SELECT attempt = 10 AND state = 'retryable' FROM river_job WHERE id = $1)", id)
		job := b.job(t, day)
		require.WithinDuration(t, job.AttemptedAt.Add(6561*time.Second), job.ScheduledAt, 660*time.Second)
		b.askedLongAgo(t)
		b.backdate(t, 2*time.Minute)
		b.awaitLooks(t)
		job = b.job(t, day)
		require.Equal(t, rivertype.JobStateRetryable, job.State, "once for all requests")
		require.Equal(t, 11, job.MaxAttempts)

		b.repairSource(t)
		b.request(t, day)
		b.awaitDone(t)
		require.Equal(t, []string{"completed"}, b.jobStates(t, day))
		require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	})

	t.Run("Schedule", func(t *testing.T) {
		t.Parallel()
		b, id := failing(t)
		b.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date, requested_via, priority) VALUES ($1, 'schedule', 2)", day)
		b.backdate(t, 2*time.Minute)
		b.awaitLooks(t)
		job := b.job(t, day)
		require.Equal(t, id, job.ID)
		require.Equal(t, rivertype.JobStateRetryable, job.State)
		require.Equal(t, 10, job.MaxAttempts)
	})
}

// TestPriorityRaised requests a date whose job waits behind others.
func TestPriorityRaised(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.InsertDate(t, day, 100, 40)
	b.pauseQueue(t)
	b.start(t)
	b.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date, requested_via, priority) VALUES ($1, 'schedule', 2)", day)
	b.db.Wait(t, "EXISTS(SELECT FROM river_job WHERE kind = 'rollup_day' AND priority = 2)")
	scheduledAt := b.job(t, day).ScheduledAt
	b.request(t, day)
	b.db.Wait(t, "EXISTS(SELECT FROM river_job WHERE kind = 'rollup_day' AND priority = 1)")
	b.awaitLooks(t)
	job := b.job(t, day)
	require.Equal(t, scheduledAt, job.ScheduledAt)
	require.Equal(t, rivertype.JobStateAvailable, job.State)
}
