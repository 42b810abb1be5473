package run_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// about requests some entities of the date and runs it. It returns the number of entities that the run covered; 0 for the whole date.
func (b *testBundle) about(t *testing.T, entities ...string) (scope int) {
	t.Helper()
	_, err := b.db.Exec(t.Context(), "SELECT analytics.enqueue_entities($1, $2)", day, entities)
	require.NoError(t, err)
	return b.runs(t)
}

// runs runs the date, and returns as about does.
func (b *testBundle) runs(t *testing.T) (scope int) {
	t.Helper()
	figures, err := b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, err)
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT coalesce(scope, 0) FROM analytics.rollup_runs WHERE id = $1", figures.RunID).Scan(&scope))
	return scope
}

// exact requires that metrics, totals and top entities equal those of a run of the whole date.
func (b *testBundle) exact(t *testing.T) {
	t.Helper()
	// Among entities with equal counts, any may be one of the largest.
	totals := func() (text string, top *string) {
		require.NoError(t, b.db.QueryRow(t.Context(), `SELECT concat_ws(' ', d.events, d.entities), (
				SELECT string_agg(l.key || ' ' || (r.value ->> 'count'), ', ' ORDER BY l.key, (r.value ->> 'count')::bigint)
				FROM analytics.top_entities AS t, jsonb_each(t.top) AS l, jsonb_array_elements(l.value) AS r
				WHERE t.metric_date = d.metric_date
			) FROM analytics.rollup_dates AS d WHERE d.metric_date = $1`, day).Scan(&text, &top))
		return text, top
	}
	pgtest.RequireExact(t, b.db, day)
	kept, keptTop := totals()
	require.Equal(t, "complete", b.state(t, day))
	b.requireTypes(t)
	b.rollup(t, day)
	right, rightTop := totals()
	require.Equal(t, right, kept)
	if keptTop != nil { // Otherwise the top entities are recorded as unknown.
		require.Equal(t, *rightTop, *keptTop)
	}
}

// some returns entities of the date as SQL writes them, in some order that stays the same.
func (b *testBundle) some(t *testing.T, n int) (entities []string) {
	t.Helper()
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT array_agg(entity_id::text) FROM (
		SELECT entity_id FROM analytics.daily_entity_metrics ORDER BY md5(entity_id::text) LIMIT $1) AS s`, n).Scan(&entities))
	return entities
}

// A run whose requests name entities counts only these again.
func TestRunScope(t *testing.T) {
	t.Parallel()
	for _, installed := range installations {
		t.Run(string(installed.EntityType), func(t *testing.T) {
			t.Parallel()
			b := setup(t, installed)
			b.db.InsertDate(t, day, 20_000, 1_500)
			b.rollup(t, day)
			few := b.some(t, 40)

			// More of some, the end of others, and one that is new.
			_, err := b.db.Exec(t.Context(), "DELETE FROM public.raw_events WHERE entity_id::text = ANY($1)", few[:10])
			require.NoError(t, err)
			_, err = b.db.Exec(t.Context(), `INSERT INTO public.raw_events (entity_id, event_type, created_at)
				SELECT entity_id, t, created_at FROM public.raw_events, unnest(ARRAY['view', 'odd']) AS t WHERE entity_id::text = ANY($1)`, few[10:])
			require.NoError(t, err)
			before := b.versions(t, few)
			require.Equal(t, 40, b.about(t, few...))
			require.Equal(t, before, b.versions(t, few), "no other row was written")
			b.exact(t)
		})
	}
}

// versions identifies the rows of all other entities, as they are stored.
func (b *testBundle) versions(t *testing.T, but []string) (text string) {
	t.Helper()
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT md5(string_agg(xmin::text || ctid::text, ',' ORDER BY ctid))
		FROM analytics.daily_entity_metrics WHERE entity_id::text <> ALL($1)`, but).Scan(&text))
	return text
}

// A run covers the whole date whenever other entities may have changed.
func TestRunScope_Whole(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]string{
		"AnotherRequest": "SELECT analytics.enqueue_rollup('2026-03-01')",
		"Erase":          "SELECT analytics.enqueue_erase('2026-03-01', '2026-03-01')",
		"NotComplete":    "UPDATE analytics.rollup_dates SET state = 'failed'",
		"OddCounts":      `UPDATE analytics.daily_entity_metrics SET other_counts = '{"odd": 1.5}'`,
		"Sweep": `BEGIN; SELECT set_config('daymill.sweep', pg_current_xact_id()::text, true);
			INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-01'); COMMIT`,
		"TooManyEntities": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, installations[0])
			b.db.InsertDate(t, day, 3_000, 500)
			b.rollup(t, day)
			// A change without a request: only a run of the whole date finds it.
			_, err := b.db.Exec(t.Context(), "UPDATE public.raw_events SET event_type = 'save'")
			require.NoError(t, err)
			n := 10
			if name == "TooManyEntities" {
				n = 200
			}
			_, err = b.db.Exec(t.Context(), prepare)
			require.NoError(t, err)
			require.Zero(t, b.about(t, b.some(t, n)...))
			b.exact(t)
		})
	}
}

// An index by entity makes such a run cheap. If there is none, and the date is large, the run counts the whole date.
func TestRunScope_NoShortcut(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 3_000, 1_000)
	b.rollup(t, day)
	// Each row that is looked at takes so long that only a slice of a few is quick.
	_, err := b.db.Exec(t.Context(), `ALTER TABLE public.raw_events RENAME TO kept;
		CREATE FUNCTION public.drag(bigint) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.0002); RETURN $1; END';
		CREATE OR REPLACE VIEW analytics.events AS SELECT public.drag(entity_id)::analytics.entity_id AS entity_id, event_type::text, created_at FROM public.kept`)
	require.NoError(t, err)
	require.Zero(t, b.about(t, b.some(t, 5)...))
}

// A run of some entities that ends halfway leaves no cursor, because the other entities below it were not counted.
func TestRunScope_Interrupted(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 30_000, 15_000)
	b.rollup(t, day)
	some := b.some(t, 1_100)
	// A change without a request shows whether the next run counts the whole date.
	_, err := b.db.Exec(t.Context(), "UPDATE public.raw_events SET event_type = 'save'")
	require.NoError(t, err)
	_, err = b.db.Exec(t.Context(), "SELECT analytics.enqueue_entities($1, $2)", day, some)
	require.NoError(t, err)
	b.interruptAt(t, func(f run.Report) bool { return f.Batches > 0 })
	require.Zero(t, b.runs(t))
	b.exact(t)
}

// Whatever changes in the source, its triggers name the entities, and runs of these alone keep every row and the totals right.
func TestRunScope_Watched(t *testing.T) {
	t.Parallel()
	for _, installed := range installations {
		t.Run(string(installed.EntityType), func(t *testing.T) {
			t.Parallel()
			b := setup(t, installed)
			b.db.InsertDate(t, day, 3_000, 400)
			err := source.Set(t.Context(), b.db.DB, b.db.Installation, source.Options{
				Table: "public.raw_events", Entity: "entity_id", Type: "event_type", Time: "created_at",
			})
			require.NoError(t, err)
			_, err = source.Watch(t.Context(), b.db.DB, b.db.Installation, source.WatchOptions{})
			require.NoError(t, err)
			b.rollup(t, day)
			random := rand.New(rand.NewPCG(1, 2))
			for range 15 {
				some := b.some(t, 400)
				for range 1 + random.IntN(3) {
					entity := some[random.IntN(len(some))]
					_, err := b.db.Exec(t.Context(), []string{
						`INSERT INTO public.raw_events (entity_id, event_type, created_at)
							SELECT entity_id, 'view', created_at FROM public.raw_events WHERE entity_id::text = $1`,
						"DELETE FROM public.raw_events WHERE entity_id::text = $1",
						"UPDATE public.raw_events SET event_type = 'odd' WHERE entity_id::text = $1",
						`UPDATE public.raw_events SET entity_id = (SELECT entity_id FROM public.raw_events WHERE entity_id::text <> $1 LIMIT 1)
							WHERE entity_id::text = $1`,
						"UPDATE public.raw_events SET created_at = created_at - interval '1 day' WHERE entity_id::text = $1",
					}[random.IntN(5)], entity)
					require.NoError(t, err)
				}
				scope := b.runs(t)
				require.Positive(t, scope)
				pgtest.RequireExact(t, b.db, day)
				var right bool
				require.NoError(t, b.db.QueryRow(t.Context(), `SELECT (d.events, d.entities) = (
						SELECT sum(views_count + clicks_count + saves_count + skips_count
							+ coalesce((SELECT sum(value::bigint) FROM jsonb_each_text(other_counts)), 0)), count(*)
						FROM analytics.daily_entity_metrics AS m WHERE m.metric_date = d.metric_date
					) FROM analytics.rollup_dates AS d WHERE d.metric_date = $1`, day).Scan(&right))
				require.True(t, right, "totals")
			}
			b.exact(t)
		})
	}
}

// The largest entities of a date stay right as some of them grow and shrink.
func TestRunScope_Top(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	for i := range 30 {
		_, err := b.db.Exec(t.Context(), `INSERT INTO public.raw_events (entity_id, event_type, created_at)
			SELECT $1, 'view', '2026-03-01 12:00+00' FROM generate_series(1, $2)`, i, 10*(i+1))
		require.NoError(t, err)
	}
	b.rollup(t, day)
	top := func() (n int) {
		var text []byte
		err := b.db.QueryRow(t.Context(), "SELECT coalesce((SELECT top FROM analytics.top_entities WHERE metric_date = $1), '{}')", day).Scan(&text)
		require.NoError(t, err)
		var lists map[string][]any
		require.NoError(t, json.Unmarshal(text, &lists))
		return len(lists["views"])
	}
	change := func(sql string, entity int) {
		_, err := b.db.Exec(t.Context(), sql, entity)
		require.NoError(t, err)
		require.Equal(t, 1, b.about(t, fmt.Sprint(entity)))
	}
	grow := "INSERT INTO public.raw_events (entity_id, event_type, created_at) SELECT $1, 'view', '2026-03-01 13:00+00' FROM generate_series(1, 500)"
	change(grow, 3)
	require.Equal(t, 10, top())
	require.True(t, b.requireTypes(t))
	b.exact(t)
	change("DELETE FROM public.raw_events WHERE entity_id = $1 AND created_at > '2026-03-01 12:30+00'", 3)
	require.Zero(t, top(), "an entity that has left makes room for one that nobody knows")
	pgtest.RequireExact(t, b.db, day)
}
