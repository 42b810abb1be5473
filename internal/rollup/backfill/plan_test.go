package backfill_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestPlans: the statements of the pages use an index, however many backfills there are.
func TestPlans(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db.Do(t, `INSERT INTO analytics.backfills (first_date, last_date, state, finished_at)
		SELECT $1, $2, CASE WHEN i % 1000 = 0 THEN 'paused' ELSE 'complete' END, now() FROM generate_series(1, 4000) AS i`, first, first.AddDays(29))
	b.db.Do(t, `INSERT INTO analytics.backfill_dates (backfill_id, metric_date, state)
		SELECT b, $1::date + i, 'complete' FROM generate_series(1, 4000) AS b, generate_series(0, 29) AS i`, first)
	b.db.Do(t, `INSERT INTO analytics.rollup_requests (metric_date, requested_at, due_at, resolved_at, resolution, backfill_id)
		SELECT $1::date + i % 1000, now(), now(), now(), 'satisfied', i % 4000 + 1 FROM generate_series(1, 50000) AS i`, first)
	b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id)
		SELECT $1::date + i, 'complete', 1, 1 FROM generate_series(0, 3649) AS i`, first)
	b.db.Do(t, "ANALYZE analytics.backfills, analytics.backfill_dates, analytics.rollup_requests, analytics.rollup_dates")

	on := &pgtest.Explainer{DBTX: b.db}
	list, err := backfill.List(t.Context(), on, 2000, 26)
	require.NoError(t, err)
	require.Len(t, list, 26)
	_, err = backfill.Get(t.Context(), on, 17)
	require.NoError(t, err)
	days, err := backfill.Days(t.Context(), on, 17, "", backfill.DayCursor{}, 20)
	require.NoError(t, err)
	require.Len(t, days, 20)
	conflicts, err := backfill.FindConflicts(t.Context(), on, span(30))
	require.NoError(t, err)
	require.EqualValues(t, 4, conflicts.Backfills)
	dates, err := backfill.Preview(t.Context(), on, backfill.Plan{Range: span(30)})
	require.NoError(t, err)
	require.Empty(t, dates)

	require.Len(t, on.Plans, 5)
	for _, plan := range on.Plans {
		require.NotContains(t, plan, "Seq Scan", plan)
	}
}
