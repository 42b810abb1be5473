package run_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// topSQL returns the correct top entities of a date, counted from its rows; ties go to the smaller entity.
const topSQL = `
SELECT coalesce(jsonb_object_agg(l.name, l.list), '{}')
FROM (
	SELECT r.name, jsonb_agg(jsonb_build_object('id', r.entity_id::text, 'count', r.count) ORDER BY r.place) AS list
	FROM (
		SELECT v.name, m.entity_id, v.count, row_number() OVER (PARTITION BY v.name ORDER BY v.count DESC, m.entity_id) AS place
		FROM analytics.daily_entity_metrics AS m
		CROSS JOIN LATERAL (VALUES
			('views', m.views_count), ('clicks', m.clicks_count), ('saves', m.saves_count), ('skips', m.skips_count),
			('events', m.views_count + m.clicks_count + m.saves_count + m.skips_count
				+ (SELECT coalesce(sum(o.value::integer), 0) FROM jsonb_each_text(m.other_counts) AS o)::integer)
		) AS v (name, count)
		WHERE m.metric_date = $1 AND v.count > 0
	) AS r
	WHERE r.place <= 10
	GROUP BY r.name
) AS l`

func (b *testBundle) requireTop(t *testing.T) {
	t.Helper()
	var text []byte
	require.NoError(t, b.db.QueryRow(t.Context(), topSQL, day).Scan(&text))
	var want ledger.Top
	require.NoError(t, json.Unmarshal(text, &want))
	got, err := ledger.ReadTop(t.Context(), b.db, day)
	require.NoError(t, err)
	require.Len(t, got["events"], 10)
	require.Equal(t, want, got)
	require.True(t, b.requireTypes(t))
}

// TestTop compares what a run has recorded with the rows it has written.
func TestTop(t *testing.T) {
	t.Parallel()
	for _, installed := range installations {
		t.Run(string(installed.EntityType), func(t *testing.T) {
			t.Parallel()
			b := setup(t, installed)
			b.db.InsertDate(t, day, 8_000, 900)
			b.runner.Options.MaxEntities = 300 // Several passes.
			require.Greater(t, b.rollup(t, day).Passes, 1)
			b.requireTop(t)

			// What is the same is not written again.
			version := func() (version string) {
				require.NoError(t, b.db.QueryRow(t.Context(), "SELECT xmin::text FROM analytics.top_entities").Scan(&version))
				return version
			}
			before := version()
			b.rollup(t, day)
			require.Equal(t, before, version())
			for range 500 {
				b.db.Insert(t, pgtest.Event{Entity: b.db.Entity(t, 42), Type: "save", At: atNoon(t, b)})
			}
			b.rollup(t, day)
			b.requireTop(t)
			require.NotEqual(t, before, version())
		})
	}
}

// TestTopResumed: a run that continues another one deletes the top entities, which it cannot know.
func TestTopResumed(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 8_000, 900)
	b.rollup(t, day)
	b.requireTop(t)
	_, err := b.db.Exec(t.Context(), "TRUNCATE analytics.daily_entity_metrics")
	require.NoError(t, err)
	b.request(t, day)
	b.runner.Options.MaxEntities = 300
	ctx, cancel := context.WithCancel(t.Context())
	_, err = b.runner.Run(ctx, run.Order{Date: day, Progress: func(f run.Report) {
		if f.Batches > 0 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	figures, err := b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, err)
	var resumed bool
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT resumed_run_id IS NOT NULL FROM analytics.rollup_runs WHERE id = $1",
		figures.RunID).Scan(&resumed))
	require.True(t, resumed)
	top, err := ledger.ReadTop(t.Context(), b.db, day)
	require.NoError(t, err)
	require.Nil(t, top)
	require.False(t, b.requireTypes(t))
	b.rollup(t, day)
	b.requireTop(t)
}
