package run_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// requireTypes requires that the date's counts by type, if they are recorded, are those of its rows. It returns whether they are.
func (b *testBundle) requireTypes(t *testing.T) (known bool) {
	t.Helper()
	types, err := ledger.Types(t.Context(), b.db, date.Range{First: day, Last: day})
	require.NoError(t, err)
	got, known := types[day]
	if !known {
		return false
	}
	var want merge.Sums
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT coalesce(sum(views_count), 0), coalesce(sum(clicks_count), 0),
			coalesce(sum(saves_count), 0), coalesce(sum(skips_count), 0),
			(SELECT jsonb_object_agg(o.key, o.events) FROM (
				SELECT o.key, sum(o.value::bigint) AS events
				FROM analytics.daily_entity_metrics AS n, jsonb_each_text(n.other_counts) AS o
				WHERE n.metric_date = $1
				GROUP BY o.key
			) AS o)
		FROM analytics.daily_entity_metrics WHERE metric_date = $1`, day).Scan(&want.Views, &want.Clicks, &want.Saves, &want.Skips, &want.Other))
	require.Equal(t, want.Total(), got.Total())
	if got.Rest == 0 {
		require.Equal(t, want, got)
		return true
	}
	require.Equal(t, want.Views, got.Views)
	for name, events := range got.Other {
		require.Equal(t, want.Other[name], events, name)
	}
	return true
}

// TestTypes: a run records the fifty most frequent of many types, and a run of some entities keeps the counts right.
func TestTypes(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 500, 50)
	_, err := b.db.Exec(t.Context(), `INSERT INTO public.raw_events (entity_id, event_type, created_at)
		SELECT e, 'type' || i, '2026-03-01 12:00+00' FROM generate_series(1, 60) AS i, generate_series(1, i) AS e`)
	require.NoError(t, err)
	b.rollup(t, day)
	require.True(t, b.requireTypes(t))
	types, err := ledger.Types(t.Context(), b.db, date.Range{First: day, Last: day})
	require.NoError(t, err)
	require.Len(t, types[day].Other, merge.MostTypes)
	require.Positive(t, types[day].Rest)
	require.EqualValues(t, 60, types[day].Other["type60"])

	_, err = b.db.Exec(t.Context(), `INSERT INTO public.raw_events (entity_id, event_type, created_at)
		SELECT 7, type, '2026-03-01 12:00+00' FROM unnest(ARRAY['type60', 'type1', 'new', 'view']) AS type`)
	require.NoError(t, err)
	require.Equal(t, 1, b.about(t, "7"))
	pgtest.RequireExact(t, b.db, day)
	require.True(t, b.requireTypes(t))
	types, err = ledger.Types(t.Context(), b.db, date.Range{First: day, Last: day})
	require.NoError(t, err)
	require.EqualValues(t, 61, types[day].Other["type60"])
	require.NotContains(t, types[day].Other, "new", "it may be a part of the rest")
}
