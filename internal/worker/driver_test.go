package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
)

// TestStuckJobsOfOthers: an application may have its own jobs in River's tables, of kinds that Daymill does not know: River would discard these as stuck.
func TestStuckJobsOfOthers(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	ours := []string{jobs.QueueRollup, jobs.QueueControl, jobs.QueueCapture, jobs.QueueArchive}
	for _, queue := range append([]string{"default"}, ours...) {
		_, err := db.Exec(t.Context(), `INSERT INTO public.river_job (kind, args, max_attempts, queue, state, attempt, attempted_at, attempted_by)
			VALUES ('something', '{}', 3, $1, 'running', 1, now() - interval '1 day', '{w}')`, queue)
		require.NoError(t, err)
	}
	stuck, err := worker.Executor(db.Pool, time.Minute).JobGetStuck(t.Context(), &riverdriver.JobGetStuckParams{Max: 10, StuckHorizon: time.Now(), Schema: "public"})
	require.NoError(t, err)
	var queues []string
	for _, job := range stuck {
		queues = append(queues, job.Queue)
	}
	require.ElementsMatch(t, ours, queues)
}

// TestFetchDeadline: fetching jobs ends, and later jobs are fetched, although the context that River passes has no deadline.
func TestFetchDeadline(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	locking, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = locking.Exec(t.Context(), "LOCK TABLE public.river_job IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)
	fetch := func(patience time.Duration) (*riverdriver.JobGetAvailableResult, error) {
		return worker.Executor(db.Pool, patience).JobGetAvailable(context.WithoutCancel(t.Context()), &riverdriver.JobGetAvailableParams{
			ClientID: "w", MaxAttemptedBy: 10, MaxToLock: 10, Queue: jobs.QueueControl, Schema: "public",
		})
	}
	_, err = fetch(50 * time.Millisecond)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, locking.Rollback(t.Context()))
	db.Do(t, "INSERT INTO public.river_job (kind, args, max_attempts, queue) VALUES ('something', '{}', 3, $1)", jobs.QueueControl)
	fetched, err := fetch(time.Minute)
	require.NoError(t, err)
	require.Len(t, fetched.Jobs, 1)
}
