package source_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/rollup/source"
)

// keptBy makes a server look as if an extension kept the rows of a table in others: it has the extension's catalog.
func (db *testBundle) keptBy(t *testing.T, extension, table string) {
	t.Helper()
	if extension == "Citus" {
		db.Do(t, "SET allow_system_table_mods = on; CREATE TABLE pg_catalog.pg_dist_partition AS SELECT '"+table+"'::regclass AS logicalrelid; RESET allow_system_table_mods")
		return
	}
	db.Do(t, `CREATE SCHEMA _timescaledb_catalog; CREATE TABLE _timescaledb_catalog.hypertable AS
		SELECT n.nspname AS schema_name, c.relname AS table_name FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = '`+table+"'::regclass")
}

// TestElsewhere: neither triggers nor capture notice the late events of a table whose rows are in others, and nothing says so.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	for extension, because := range map[string]string{
		"Citus":       "Citus distributes it, and distributed tables take no triggers that see a statement's rows",
		"TimescaleDB": "it is a hypertable of TimescaleDB, whose chunks take no triggers that see a statement's rows",
	} {
		t.Run(extension, func(t *testing.T) {
			t.Parallel()
			db, options := setupEvents(t)
			db.set(t, options)
			db.Do(t, "CREATE TABLE app.other (at timestamptz)")
			db.keptBy(t, extension, "app.other")
			all, err := source.ListElsewhere(t.Context(), db)
			require.NoError(t, err)
			require.Empty(t, all)
			db.Do(t, "DROP TABLE IF EXISTS pg_catalog.pg_dist_partition; DROP SCHEMA IF EXISTS _timescaledb_catalog CASCADE")
			db.keptBy(t, extension, "app.events")
			all, err = source.ListElsewhere(t.Context(), db)
			require.NoError(t, err)
			require.Len(t, all, 1)
			require.Equal(t, []string{"app.events", extension, because}, []string{all[0].Table, all[0].Extension, all[0].Because})

			_, err = source.Watch(t.Context(), db.DB.DB, db.Installation, source.WatchOptions{})
			require.ErrorIs(t, err, source.ErrRefused)
			require.ErrorContains(t, err, "app.events can neither be watched nor captured, because "+because)
			require.NotContains(t, err.Error(), "capture`")
			require.Zero(t, db.triggers(t))
		})
	}
}

// TestCheckDistributed: the plan of a distributed table has nothing of its parts, so the check looks at the indexes that the table has for them.
func TestCheckDistributed(t *testing.T) {
	t.Parallel()

	t.Run("Index", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		db.keptBy(t, "Citus", "app.events")
		require.Contains(t, db.check(t), "app.events has no index that finds a span of occurred_at")
		db.Do(t, "CREATE INDEX ON app.events (product_id, occurred_at)")
		require.Contains(t, db.check(t), "app.events has no index that finds a span of occurred_at")
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		require.Empty(t, db.check(t))
	})

	t.Run("HandWritten", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `CREATE OR REPLACE VIEW analytics.events AS
			SELECT product_id::bigint::analytics.entity_id AS entity_id, kind::text AS event_type, occurred_at::timestamptz AS created_at FROM app.events`)
		db.keptBy(t, "Citus", "app.events")
		said := db.check(t)
		require.Contains(t, said, "Citus distributes app.events, and its nodes plan their parts themselves")
		require.NotContains(t, said, "again")
	})
}
