package schedule_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestLatest: the state of the newest jobs is read only from the index.
func TestLatest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.db.Exec(t.Context(), `INSERT INTO daymill.jobs (id, kind, args, state, queue, priority, attempt, max_attempts, created_at,
			scheduled_at, finalized_at, errors)
		SELECT i, CASE WHEN i % 100 = 0 THEN 'daily_rollup' WHEN i = 17 THEN 'prune_ledger' ELSE 'rollup_day' END, '{}',
			CASE WHEN i IN (17, 200) THEN 'discarded' ELSE 'completed' END, 'daymill', 1, 1, 3, now(), now(), now(),
			CASE WHEN i = 17 THEN '[{"error": "first"}, {"error": "no space left"}]'::jsonb ELSE '[]' END
		FROM generate_series(1, 30000) AS i`)
	require.NoError(t, err)
	_, err = b.db.Exec(t.Context(), "ANALYZE daymill.jobs")
	require.NoError(t, err)

	on := &pgtest.Explainer{DBTX: b.db}
	latest, err := schedule.Latest(t.Context(), on, []string{schedule.Name, schedule.PruneName, schedule.VerifyName})
	require.NoError(t, err)
	require.Len(t, latest, 2, "there was no verification yet")
	require.Equal(t, "completed", latest[schedule.Name].State)
	require.EqualValues(t, 30000, latest[schedule.Name].JobID)
	require.Empty(t, latest[schedule.Name].Error)
	require.Equal(t, "discarded", latest[schedule.PruneName].State)
	require.Equal(t, "no space left", latest[schedule.PruneName].Error)
	require.Len(t, on.Plans, 1)
	require.NotContains(t, on.Plans[0], "Seq Scan", on.Plans[0])
}
