package worker_test

import (
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
	stuck, err := worker.Executor(db.Pool).JobGetStuck(t.Context(), &riverdriver.JobGetStuckParams{Max: 10, StuckHorizon: time.Now(), Schema: "public"})
	require.NoError(t, err)
	var queues []string
	for _, job := range stuck {
		queues = append(queues, job.Queue)
	}
	require.ElementsMatch(t, ours, queues)
}
