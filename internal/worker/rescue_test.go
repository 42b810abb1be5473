package worker_test

import (
	"testing"

	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
)

// silence makes the run of a date, and its job, look as if they had given no sign of life for an hour.
func (b *testBundle) silence(t *testing.T) {
	t.Helper()
	b.db.Do(t, "UPDATE river_job SET attempted_at = attempted_at - interval '1 hour' WHERE kind = 'rollup_day' AND state = 'running'")
	b.db.Do(t, "UPDATE analytics.rollup_dates SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE state = 'running'")
}

// dead puts a job of a date and its run into the state in which a killed worker leaves them.
func (b *testBundle) dead(t *testing.T, attempt int) int64 {
	t.Helper()
	result, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: day}, nil)
	require.NoError(t, err)
	id := result.Job.ID
	b.db.Do(t, `UPDATE river_job SET state = 'running', attempt = $2, attempted_at = now(), attempted_by = '{dead}' WHERE id = $1`,
		id, attempt)
	run := pgtest.Value[int64](t, b.db, `INSERT INTO analytics.rollup_runs (metric_date, job_id, attempt, worker)
		VALUES ($1, $2, $3, 'dead') RETURNING id`, day, id, attempt)
	b.db.Do(t, "INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) VALUES ($1, 'running', $2, $2)", day, run)
	b.db.Do(t, "UPDATE analytics.rollup_requests SET run_id = $1", run)
	return id
}

func (b *testBundle) runStates(t *testing.T) []string {
	t.Helper()
	return pgtest.Column[string](t, b.db, "SELECT state FROM analytics.rollup_runs ORDER BY id")
}

func TestRescue(t *testing.T) {
	t.Parallel()

	// A job that was cancelled while its worker was dying.
	t.Run("Cancelled", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		id := b.dead(t, 1)
		_, err := b.app.JobCancel(t.Context(), id)
		require.NoError(t, err)
		b.silence(t)
		b.start(t)
		b.awaitJobState(t, id, rivertype.JobStateCancelled)
		require.Equal(t, []string{"cancelled"}, b.resolutions(t, day))
		require.Equal(t, "cancelled", b.dateState(t, day))
		require.Equal(t, []string{"lost"}, b.runStates(t))
		b.requireQuiet(t)
	})

	t.Run("Dead", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		id := b.dead(t, 1)
		b.start(t)
		b.awaitLooks(t)
		require.Equal(t, 1, b.job(t, day).Attempt, "its worker may be alive")
		b.silence(t)
		b.awaitDone(t)
		job := b.job(t, day)
		require.Equal(t, id, job.ID)
		require.Equal(t, 2, job.Attempt)
		require.Len(t, job.Errors, 1)
		require.Contains(t, job.Errors[0].Error, "its worker gave no sign of life for")
		require.Equal(t, []string{"lost", "complete"}, b.runStates(t))
		require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	})

	// The worker of the second attempt was killed before its run began, and the run of the first continues giving signs of life.
	t.Run("EarlierRunAlive", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		id := b.dead(t, 1)
		const rescue = "SELECT analytics.rescue_jobs('30 seconds')"
		b.db.Do(t, "UPDATE river_job SET attempted_at = now() - interval '1 hour' WHERE id = $1", id)
		b.db.Do(t, "UPDATE analytics.rollup_dates SET heartbeat_at = now() + interval '1 minute'")
		require.Empty(t, pgtest.Column[date.Date](t, b.db, rescue), "the run of this attempt is alive")
		b.db.Do(t, "UPDATE river_job SET attempt = 2 WHERE id = $1", id)
		require.Len(t, pgtest.Column[date.Date](t, b.db, rescue), 1, "a run of another attempt keeps no job alive")
		b.start(t)
		b.awaitDone(t)
		require.Equal(t, 3, b.job(t, day).Attempt)
		require.Equal(t, []string{"lost", "complete"}, b.runStates(t))
		require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	})

	// A run takes so long that the rescuer of another client would consider its job stuck: it checks only attempted_at.
	t.Run("Long", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 1_500, 40)
		p := b.start(t, func(config *worker.Config) { config.Workers, config.Pace = 1, 1 })
		p.clock.keep()
		b.request(t, day)
		p.clock.awaitKept(t, 1)
		id := b.job(t, day).ID
		b.db.Do(t, "UPDATE river_job SET attempted_at = now() - interval '2 hours' WHERE id = $1", id)
		b.start(t)
		b.db.Wait(t, `EXISTS(
			SELECT FROM river_job AS j, analytics.rollup_dates AS d
			WHERE j.id = $1 AND j.state = 'running' AND j.attempted_at > now() - interval '1 minute' AND j.attempted_at <= d.heartbeat_at
		)`, id)
		p.clock.releaseAll()
		b.awaitDone(t)
		require.Equal(t, []string{"complete"}, b.runStates(t))
		require.Equal(t, 1, b.job(t, day).Attempt)
	})

	// The worker of the last attempt was killed: the date has failed, and is no longer shown as running.
	t.Run("LastAttempt", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 100, 40)
		id := b.dead(t, 10)
		b.silence(t)
		b.start(t)
		b.awaitJobState(t, id, rivertype.JobStateDiscarded)
		require.Equal(t, []string{"failed"}, b.resolutions(t, day))
		require.Equal(t, "failed", b.dateState(t, day))
		require.Equal(t, []string{"lost"}, b.runStates(t))
		b.requireQuiet(t)
		b.request(t, day)
		b.awaitDone(t)
		require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
	})

	// A process hung for so long that it rescues its own job, and has no free worker for it.
	t.Run("OwnOneWorker", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.InsertDate(t, day, 1_500, 40)
		p := b.start(t, func(config *worker.Config) { config.Workers, config.Pace = 1, 1 })
		p.clock.keep()
		b.request(t, day)
		p.clock.awaitKept(t, 1)
		b.silence(t)
		b.awaitJobState(t, b.job(t, day).ID, rivertype.JobStateAvailable)
		p.clock.releaseAll()
		b.awaitDone(t)
		require.Equal(t, []string{"complete"}, b.runStates(t))
		require.Equal(t, 2, b.job(t, day).Attempt)
		require.EqualValues(t, 1_500, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	})

	// The same with a free worker: the job's second attempt fences the first, which waits for it, so that River does not consider the job done. In the
	// end, neither occupies a worker without end.
	t.Run("OwnTwoWorkers", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		all := dates(4)
		for _, d := range all {
			b.db.InsertDate(t, d, 1_500, 40)
		}
		p := b.start(t, func(config *worker.Config) { config.Pace = 1 })
		p.clock.keep()
		b.request(t, day)
		p.clock.awaitKept(t, 1)
		b.silence(t)
		p.clock.awaitKept(t, 2)
		p.clock.release(0)
		// Another process rolls up a date, which takes longer than River needs to record the end of a job.
		other := b.start(t)
		b.request(t, all[3])
		b.awaitServed(t, all[3])
		other.stop(t)
		require.Equal(t, []string{"lost", "running", "complete"}, b.runStates(t))
		require.Equal(t, []string{"running"}, b.jobStates(t, day))
		p.clock.releaseAll()
		b.awaitDone(t)
		require.Equal(t, []string{"lost", "complete", "complete"}, b.runStates(t))
		require.Equal(t, []string{"completed"}, b.jobStates(t, day))
		b.hold(t, all[1:3]...)
		b.request(t, all[1:3]...)
		b.awaitHeld(t, all[1])
		b.awaitHeld(t, all[2])
		b.release(t, all...)
		b.awaitDone(t)
		require.EqualValues(t, 6_002, pgtest.RequireExact(t, b.db).Events)
		b.requireQuiet(t)
	})
}
