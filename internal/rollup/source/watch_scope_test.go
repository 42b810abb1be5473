package source_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/rollup/source"
)

// scopes deletes the requests of the watch, and returns them with their entities: "2026-03-01 {1,2}", or "2026-03-01 all".
func (db *testBundle) scopes(t *testing.T) (found []string) {
	t.Helper()
	err := db.QueryRow(t.Context(), `
		WITH gone AS (DELETE FROM analytics.rollup_requests WHERE requested_via = 'watch' RETURNING metric_date, entities)
		SELECT coalesce(array_agg(concat_ws(' ', metric_date, CASE WHEN entities IS NULL THEN 'all'
			ELSE ARRAY(SELECT unnest(entities) ORDER BY 1)::text END) ORDER BY metric_date), '{}') FROM gone`).Scan(&found)
	require.NoError(t, err)
	return found
}

// The watch knows which entities a statement touched, and requests these.
func TestWatchScope(t *testing.T) {
	t.Parallel()
	db, options := setupEvents(t)
	db.set(t, options)
	db.watch(t, source.WatchOptions{})
	db.Do(t, "DELETE FROM app.events")
	db.scopes(t)
	for _, c := range []struct {
		name, sql string
		want      []string
	}{
		{
			"Insert", `INSERT INTO app.events (product_id, kind, occurred_at) VALUES (1, 'view', '2026-03-01 12:00+00'), (1, 'view', '2026-03-01 13:00+00'),
				(2, 'view', '2026-03-01 12:00+00'), (3, 'view', '2026-03-02 12:00+00'), (4, 'view', now())`,
			[]string{"2026-03-01 {1,2}", "2026-03-02 {3}"},
		},
		{"Moved", "UPDATE app.events SET product_id = 7 WHERE product_id = 3", []string{"2026-03-02 {3,7}"}},
		{"Dated", "UPDATE app.events SET occurred_at = '2026-03-03 12:00+00' WHERE product_id = 7", []string{"2026-03-02 {7}", "2026-03-03 {7}"}},
		{"Deleted", "DELETE FROM app.events WHERE product_id = 1", []string{"2026-03-01 {1}"}},
		{"Today", "DELETE FROM app.events WHERE product_id = 4", []string{}},
		{
			"Many", "INSERT INTO app.events (product_id, kind, occurred_at) SELECT n, 'view', '2026-03-01 12:00+00' FROM generate_series(1, 10001) AS n",
			[]string{"2026-03-01 all"},
		},
		{"Truncated", "TRUNCATE app.events", []string{}},
	} {
		db.Do(t, c.sql)
		require.ElementsMatch(t, c.want, db.scopes(t), c.name)
	}

	// The view was written by hand, so its entities are not known.
	db.Do(t, `CREATE OR REPLACE VIEW analytics.events AS SELECT (product_id + 1)::bigint::analytics.entity_id AS entity_id,
		kind::text AS event_type, occurred_at::timestamptz AS created_at FROM app.events`)
	db.Do(t, "INSERT INTO app.events (product_id, kind, occurred_at) VALUES (1, 'view', '2026-03-01 12:00+00')")
	require.Equal(t, []string{"2026-03-01 all"}, db.scopes(t))
}
