package source_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// requireRefused requires that Set refuses, says why, and changes nothing.
func requireRefused(t *testing.T, db *testBundle, options source.Options, says ...string) {
	t.Helper()
	state := func() (text string) {
		err := db.QueryRow(t.Context(), `
			SELECT pg_get_viewdef('analytics.events'::regclass) || (SELECT coalesce(string_agg(s::text, ''), 'none') FROM analytics.source AS s)
				|| (SELECT string_agg(c.relname, ',' ORDER BY c.relname) FROM pg_class AS c WHERE c.relnamespace <> 'pg_toast'::regnamespace)`).Scan(&text)
		require.NoError(t, err)
		return text
	}
	before := state()
	err := source.Set(t.Context(), db.DB.DB, db.Installation, options)
	require.ErrorIs(t, err, source.ErrRefused)
	for _, words := range says {
		require.ErrorContains(t, err, words)
	}
	require.NotContains(t, err.Error(), "\n")
	require.Equal(t, before, state())
}

func TestSet(t *testing.T) {
	t.Parallel()

	t.Run("AgainWithOtherOptions", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		require.Equal(t, []string{"7 LIKE 2026-03-01 12:00:00.000"}, db.events(t))
		options.Map = map[string]string{"LIKE": "click"}
		db.set(t, options)
		require.Equal(t, []string{"7 click 2026-03-01 12:00:00.000"}, db.events(t))
		db.set(t, source.Options{Table: "app.events", Entity: "id", Type: "kind", Time: "occurred_at"})
		require.Equal(t, []string{"1 LIKE 2026-03-01 12:00:00.000"}, db.events(t))
		require.Empty(t, db.show(t).Map)
	})
	t.Run("AtOnce", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		errs := make([]error, 8)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = source.Set(t.Context(), db.DB.DB, db.Installation, options) })
		}
		all.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
	})
	t.Run("ColumnsOfOtherCollations", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Text)
		db.Do(t, `
			CREATE TABLE app.events (who text COLLATE "en-x-icu", what text COLLATE "POSIX", at timestamptz);
			INSERT INTO app.events VALUES ('a', 'view', '2026-03-01 00:00:00+00'), ('B', 'click', '2026-03-01 00:00:00+00')`)
		db.set(t, source.Options{Table: "app.events", Entity: "who", Type: "what", Time: "at", Map: map[string]string{"view": "save"}})
		var order string
		err := db.QueryRow(t.Context(), "SELECT string_agg(entity_id, ' ' ORDER BY entity_id) || max(event_type) FROM analytics.events").Scan(&order)
		require.NoError(t, err)
		require.Equal(t, "B asave", order, "ids are in the order of their bytes")
	})
	t.Run("ColumnsThatAHandWrittenViewAdded", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, `
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT product_id::bigint::analytics.entity_id AS entity_id, kind::text AS event_type, occurred_at::timestamptz AS created_at, id
			FROM app.events`)
		requireRefused(t, db, options, "columns other than", "CREATE OR REPLACE VIEW")
	})
	t.Run("Condition", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, `INSERT INTO app.events (product_id, kind, occurred_at) VALUES (8, 'a;b', now()), (9, ')', now())`)
		for condition, rows := range map[string]int{
			"":                                    3,
			"kind = 'a;b'":                        1,
			"kind = ')' -- closes nothing":        1,
			"product_id = 7 OR product_id = 8":    2,
			"(product_id = 7) OR (kind = ')')":    2,
			"kind = $q$)$q$":                      1,
			"kind IN (SELECT 'a;b')":              1,
			"product_id > 7\n/* both */ AND\n1=1": 2,
			"NULL":                                0,
		} {
			options.Where = condition
			db.set(t, options)
			require.Len(t, db.events(t), rows, condition)
			require.Equal(t, condition, db.show(t).Where)
		}
	})
	t.Run("ConditionThatIsNone", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		for condition, says := range map[string]string{
			"true; DROP TABLE app.events":           "syntax error",
			"true); DROP TABLE app.events; --":      "syntax error",
			"true) OR (true":                        "syntax error",
			"true) UNION ALL (SELECT 1, 'a', now()": "syntax error",
			"true] || ARRAY[false":                  "syntax error",
			"true, false":                           "boolean",
			"(kind = 'a'":                           "syntax error",
			"kind = 'a":                             "unterminated",
			"kind = 'a' /* open":                    "unterminated",
			"kind":                                  "boolean",
			"product_id = $1":                       "parameter",
			"count(*) > 1":                          "aggregate",
			"SELECT true":                           "syntax error",
			"nonsense = 1":                          "does not exist",
			"true ORDER BY 1":                       "syntax error",
			"true FOR UPDATE":                       "syntax error",
			"kind = '\x00'":                         "NUL",
			"pg_catalog.set_config('a.b', 'c', false) = 1": "operator does not exist",
		} {
			options.Where = condition
			requireRefused(t, db, options, says)
		}
	})
	t.Run("DependsOnItself", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		db.Do(t, "CREATE VIEW app.mirror AS SELECT * FROM analytics.events")
		err := source.Set(t.Context(), db.DB.DB, db.Installation,
			source.Options{Table: "app.mirror", Entity: "entity_id", Type: "event_type", Time: "created_at"})
		require.ErrorContains(t, err, "infinite recursion")
		require.Equal(t, []string{"7 LIKE 2026-03-01 12:00:00.000"}, db.events(t))
	})
	t.Run("EveryKindOfRelation", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, `
			CREATE VIEW app.a_view AS SELECT * FROM app.events;
			CREATE MATERIALIZED VIEW app.a_matview AS SELECT * FROM app.events;
			CREATE TABLE app.partitioned (LIKE app.events) PARTITION BY RANGE (occurred_at);
			CREATE TABLE app.partition PARTITION OF app.partitioned DEFAULT;
			INSERT INTO app.partitioned SELECT * FROM app.events;
			CREATE SCHEMA view_mirror CREATE TABLE orders (id bigint, product_id integer, kind text, occurred_at timestamptz);
			CREATE EXTENSION postgres_fdw;
			CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname '`+db.Name+`', host '127.0.0.1', port '`+port(db)+`');
			CREATE USER MAPPING FOR postgres SERVER self OPTIONS (user 'postgres', password_required 'false');
			CREATE FOREIGN TABLE app.remote (id bigint, product_id integer, kind text, occurred_at timestamptz) SERVER self
			OPTIONS (schema_name 'app', table_name 'events')`)
		for _, name := range []string{"app.a_view", "app.a_matview", "app.partitioned", "app.remote"} {
			options.Table = name
			db.set(t, options)
			require.Equal(t, []string{"7 LIKE 2026-03-01 12:00:00.000"}, db.events(t), name)
		}
		for name, says := range map[string]string{
			"app.events_id_seq":              "neither a table nor a view",
			"app.events_pkey":                "neither a table nor a view",
			"analytics.daily_entity_metrics": "belongs to Daymill",
			"view_mirror.orders":             "belongs to Daymill",
		} {
			options.Table = name
			requireRefused(t, db, options, says)
		}
	})
	t.Run("KeepsRightsAndDependents", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		reader, role := db.as(t, "GRANT USAGE ON SCHEMA analytics TO ROLE", "GRANT SELECT ON analytics.events TO ROLE")
		require.NotEmpty(t, role)
		db.set(t, options)
		var count int
		require.NoError(t, reader.QueryRow(t.Context(), "SELECT count(*) FROM analytics.events").Scan(&count))
		require.Equal(t, 1, count)
		db.Do(t, "INSERT INTO app.events (product_id, kind, occurred_at) VALUES (5, 'view', now())")
		require.NoError(t, db.QueryRow(t.Context(), "SELECT views_count FROM analytics.daily_entity_metrics_live WHERE entity_id = 5").Scan(&count))
		require.Equal(t, 1, count)
	})
	t.Run("LockedTable", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		impatient, err := postgres.Open(t.Context(), postgres.Config{URL: db.URL, LockTimeout: 50 * time.Millisecond})
		require.NoError(t, err)
		defer impatient.Close()
		tx, err := db.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // Nothing was written.
		_, err = tx.Exec(t.Context(), "LOCK TABLE app.events")
		require.NoError(t, err)
		err = source.Set(t.Context(), impatient, db.Installation, options)
		require.True(t, postgres.IsLockTimeout(err))
		require.ErrorContains(t, err, "locked by another transaction: run it again")
	})
	t.Run("MapOfHostileValues", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		hostile := []string{"'", "''", `\`, `\'`, "a' THEN 'b", "'; DROP TABLE app.events; --", "$$", "é→", "a=b,c", "\n", " x "}
		options.Map = map[string]string{}
		for _, value := range hostile {
			_, err := db.Exec(t.Context(), "INSERT INTO app.events (product_id, kind, occurred_at) VALUES (1, left($1, 20), now())", value)
			require.NoError(t, err)
			options.Map[value] = "<" + value + ">"
			if len(value) > 20 {
				options.Map[value[:20]] = "<" + value + ">"
			}
		}
		db.set(t, options)
		require.Equal(t, options.Map, db.show(t).Map)
		for _, value := range hostile {
			var count int
			err := db.QueryRow(t.Context(), "SELECT count(*) FROM analytics.events WHERE event_type = $1", "<"+value+">").Scan(&count)
			require.NoError(t, err)
			require.Equal(t, 1, count, value)
		}
		options.Map = map[string]string{"a\x00": "b"}
		requireRefused(t, db, options, "NUL")
	})
	t.Run("NotTheOwner", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		conn, role := db.as(t, "GRANT USAGE ON SCHEMA analytics, app TO ROLE", "GRANT ALL ON ALL TABLES IN SCHEMA analytics, app TO ROLE")
		err := source.Set(t.Context(), conn, db.Installation, options)
		require.ErrorIs(t, err, source.ErrRefused)
		require.ErrorContains(t, err, "the role "+role+" does not own analytics.events: run this as postgres")
	})
	t.Run("ThroughAPooler", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		pooled, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.PgBouncer(t, db.DB)})
		require.NoError(t, err)
		defer pooled.Close()
		require.True(t, pooled.Pooled())
		options.Map = map[string]string{"LIKE": "click"}
		options.Where = "kind <> 'bot'"
		for range 3 {
			require.NoError(t, source.Set(t.Context(), pooled, db.Installation, options))
			shown, err := source.Show(t.Context(), pooled)
			require.NoError(t, err)
			require.False(t, shown.HandWritten)
			report, err := source.Check(t.Context(), pooled, db.Installation)
			require.NoError(t, err)
			require.Equal(t, 1, report.Count(source.Failure))
		}
		options.Where = "true; DROP TABLE app.events"
		require.ErrorIs(t, source.Set(t.Context(), pooled, db.Installation, options), source.ErrRefused)
		require.Equal(t, []string{"7 click 2026-03-01 12:00:00.000"}, db.events(t))
	})
	t.Run("WithoutTheRightToRead", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		conn, role := db.as(t, ownership()...)
		refused := func(says string) {
			t.Helper()
			err := source.Set(t.Context(), conn, db.Installation, options)
			require.ErrorIs(t, err, source.ErrRefused)
			require.ErrorContains(t, err, says)
			exists, err := source.Exists(t.Context(), db.DB.DB)
			require.NoError(t, err)
			require.False(t, exists)
		}
		refused("GRANT USAGE ON SCHEMA app TO " + role + ";")
		db.Do(t, "GRANT USAGE ON SCHEMA app TO "+role)
		refused("the role " + role + " may not read app.events: GRANT SELECT ON app.events TO " + role + ";")
		db.Do(t, "GRANT SELECT (product_id, kind) ON app.events TO "+role)
		refused("permission denied for table events")
		db.Do(t, "GRANT SELECT (occurred_at) ON app.events TO "+role)
		require.NoError(t, source.Set(t.Context(), conn, db.Installation, options))
	})
}

func port(db *testBundle) string {
	return strings.Split(strings.Split(db.URL, ":")[2], "/")[0]
}
