package source_test

import (
	"strings"
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

// The watch names columns, and the view reads them by number. If the owner of the table exchanges them, the watch requests whole dates.
func TestWatchScope_Exchanged(t *testing.T) {
	t.Parallel()
	db, options := setupEvents(t)
	db.set(t, options)
	db.watch(t, source.WatchOptions{})
	require.Empty(t, db.faults(t))

	db.Do(t, `ALTER TABLE app.events RENAME product_id TO old_id; ALTER TABLE app.events ADD product_id integer`)
	require.Contains(t, db.faults(t), `analytics.events reads "old_id" of "app"."events", but "product_id", which was set as the source's column, is now a different one`)
	db.Do(t, "INSERT INTO app.events (old_id, product_id, kind, occurred_at) VALUES (1, 1001, 'view', '2026-03-01 12:00+00')")
	require.Equal(t, []string{"2026-03-01 all"}, db.scopes(t))
	db.Do(t, "UPDATE app.events SET kind = 'click' WHERE old_id = 1")
	require.Equal(t, []string{"2026-03-01 all"}, db.scopes(t))
	db.Do(t, "DELETE FROM app.events WHERE old_id = 1")
	require.Equal(t, []string{"2026-03-01 all"}, db.scopes(t))

	// A column that was only renamed is the view's.
	db.Do(t, `ALTER TABLE app.events DROP product_id`)
	require.Empty(t, db.faults(t))
	db.set(t, source.Options{Table: "app.events", Entity: "old_id", Type: "kind", Time: "occurred_at"})
	require.Empty(t, db.faults(t))
}

// A table that takes the name of one behind the view is noticed, also where nothing but the view says what the source is.
func TestSwappedReads(t *testing.T) {
	t.Parallel()
	const (
		byHand = `CREATE OR REPLACE VIEW analytics.events AS SELECT product_id::bigint::analytics.entity_id AS entity_id,
			kind::text AS event_type, occurred_at::timestamptz AS created_at FROM app.events`
		behind = "CREATE OR REPLACE VIEW app.visible AS SELECT * FROM app.events"
	)
	for name, test := range map[string]struct{ create, table string }{
		"WrittenByHand": {create: byHand},
		"ViewBehind":    {create: behind, table: "app.visible"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, options := setupEvents(t)
			db.Do(t, test.create)
			if test.table != "" {
				options.Table = test.table
				db.set(t, options)
			}
			record := func() { require.NoError(t, source.RecordReads(t.Context(), db.DB.DB)) }
			if test.table == "" { // Set has recorded what the other one reads.
				record()
			}
			db.Do(t, "ALTER TABLE app.events RENAME TO renamed")
			record()
			require.Empty(t, db.faults(t))
			db.Do(t, "CREATE TABLE app.events (LIKE app.renamed INCLUDING ALL)")
			record()
			const says = "analytics.events reads app.renamed, but app.events, as it was called when the view was created, is now a different table"
			require.Contains(t, db.faults(t), says)
			require.Contains(t, db.check(t), "failure: "+says)

			// The view is right as it is.
			db.Do(t, strings.Replace(test.create, "FROM app.events", "FROM app.renamed", 1))
			require.Empty(t, db.faults(t))
			record()
			require.Empty(t, db.faults(t))
			// It reads the new table.
			db.Do(t, test.create)
			record()
			require.Empty(t, db.faults(t))
			db.Do(t, "ALTER TABLE app.events RENAME TO second; ALTER TABLE app.renamed RENAME TO events")
			require.Contains(t, db.faults(t), "analytics.events reads app.second, but app.events")
		})
	}
}

// The triggers have the rights of Daymill's owner, and evaluate no cast of the table's owner.
func TestWatchScope_Casts(t *testing.T) {
	t.Parallel()
	db, options := setupEvents(t)
	db.set(t, options)
	db.watch(t, source.WatchOptions{})
	db.Do(t, `
		CREATE TABLE app.casts (by text);
		CREATE TYPE app.trap AS (a text);
		CREATE FUNCTION app.text(app.trap) RETURNS text LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO app.casts VALUES (current_user); RETURN 'x'; END $$;
		CREATE FUNCTION app.whole(app.trap) RETURNS bigint LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO app.casts VALUES (current_user); RETURN 1; END $$;
		CREATE FUNCTION app.instant(app.trap) RETURNS timestamptz LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO app.casts VALUES (current_user); RETURN '2026-03-01'; END $$;
		CREATE CAST (app.trap AS text) WITH FUNCTION app.text(app.trap);
		CREATE CAST (app.trap AS bigint) WITH FUNCTION app.whole(app.trap);
		CREATE CAST (app.trap AS timestamptz) WITH FUNCTION app.instant(app.trap) AS IMPLICIT`)
	for _, c := range []struct{ column, insert string }{
		{"product_id", "INSERT INTO app.events (old_product_id, kind, occurred_at) VALUES (1, 'view', '2026-03-01 12:00+00')"},
		{"kind", "INSERT INTO app.events (old_product_id, old_kind, occurred_at) VALUES (1, 'view', '2026-03-01 12:00+00')"},
		{"occurred_at", "INSERT INTO app.events (old_product_id, old_kind, old_occurred_at) VALUES (1, 'view', '2026-03-01 12:00+00')"},
	} {
		db.Do(t, "ALTER TABLE app.events RENAME "+c.column+" TO old_"+c.column+"; ALTER TABLE app.events ADD "+c.column+" app.trap DEFAULT ROW('a')")
		db.Do(t, c.insert)
		db.Do(t, "UPDATE app.events SET "+c.column+" = ROW('b')")
		db.Do(t, "DELETE FROM app.events WHERE old_product_id = 1")
		var casts []string
		require.NoError(t, db.QueryRow(t.Context(), "SELECT coalesce(array_agg(by), '{}') FROM app.casts").Scan(&casts))
		require.Empty(t, casts, c.column)
	}
	require.Contains(t, db.faults(t), "late events of app.events have not been noticed")
}

func (db *testBundle) faults(t *testing.T) string {
	t.Helper()
	found, err := source.Faults(t.Context(), db.DB.DB, db.Installation)
	require.NoError(t, err)
	return strings.Join(found, "\n")
}
