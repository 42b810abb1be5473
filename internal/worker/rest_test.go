package worker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
)

// A look says whether a date with an open request rests: only then the reconciler looks again early.
func TestReconciler_Rests(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	rests := func() bool {
		dates, rests, err := worker.Look(t.Context(), db.DB)
		require.NoError(t, err)
		require.Zero(t, dates)
		return rests
	}
	require.False(t, rests(), "nothing is requested")
	db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date, requested_via) VALUES ('2026-03-01', 'watch')")
	db.Do(t, `WITH run AS (
			INSERT INTO analytics.rollup_runs (metric_date, worker, state, started_at, finished_at, worked_ms)
			VALUES ('2026-03-01', 'x', 'complete', now() - interval '1 hour', now(), 3600000) RETURNING id
		) INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) SELECT '2026-03-01', 'complete', id, id FROM run`)
	require.True(t, rests())
	db.Do(t, "UPDATE analytics.rollup_dates SET state = 'running', heartbeat_at = now()")
	require.False(t, rests(), "it is running")
}
