package source_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type testBundle struct {
	*pgtest.DB
}

// setup returns a database that has a schema for the application's tables, but no source yet.
func setup(t *testing.T, entityType entity.Type) *testBundle {
	t.Helper()
	db := &testBundle{pgtest.Database(t, pgtest.Installed{EntityType: entityType})}
	db.Do(t, "CREATE SCHEMA app")
	return db
}

// setupEvents adds app.events with one row. None of its columns has the name or type that Daymill uses for it.
func setupEvents(t *testing.T) (*testBundle, source.Options) {
	t.Helper()
	db := setup(t, entity.Bigint)
	db.Do(t, `
		CREATE TABLE app.events (
			id bigserial PRIMARY KEY, product_id integer NOT NULL, kind varchar(20) NOT NULL, occurred_at timestamptz(3) NOT NULL
		);
		INSERT INTO app.events (product_id, kind, occurred_at) VALUES (7, 'LIKE', '2026-03-01 12:00:00+00')`)
	return db, source.Options{Table: "app.events", Entity: "product_id", Type: "kind", Time: "occurred_at"}
}

func (db *testBundle) set(t *testing.T, options source.Options) {
	t.Helper()
	require.NoError(t, source.Set(t.Context(), db.DB.DB, db.Installation, options))
}

func (db *testBundle) show(t *testing.T) source.Source {
	t.Helper()
	shown, err := source.Show(t.Context(), db.DB.DB)
	require.NoError(t, err)
	return shown
}

// check returns the findings, one per line, without those that are OK.
func (db *testBundle) check(t *testing.T) string {
	t.Helper()
	report, err := source.Check(t.Context(), db.DB.DB, db.Installation)
	require.NoError(t, err)
	var out strings.Builder
	for _, finding := range report {
		if finding.Level != source.OK {
			fmt.Fprintf(&out, "%s: %s\n", finding.Level, finding.Sentence)
			for _, line := range finding.Fix {
				fmt.Fprintf(&out, "  %s\n", line)
			}
		}
	}
	return out.String()
}

// checkNotNull sets the entity's column, who, NOT NULL before it calls check, for tests of other findings.
func (db *testBundle) checkNotNull(t *testing.T) string {
	t.Helper()
	db.Do(t, "ALTER TABLE app.events ALTER COLUMN who SET NOT NULL")
	return db.check(t)
}

// events returns the rows of analytics.events, one per line, sorted as texts.
func (db *testBundle) events(t *testing.T) []string {
	t.Helper()
	rows, err := db.Query(t.Context(), `
		SELECT coalesce(e.entity_id::text, 'NULL') || ' ' || coalesce(e.event_type, 'NULL') || ' '
			|| to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')
		FROM analytics.events AS e
		ORDER BY 1`)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return all
}

// plan returns the plan of a query, as EXPLAIN prints it.
func (db *testBundle) plan(t *testing.T, query string) string {
	t.Helper()
	rows, err := db.Query(t.Context(), "EXPLAIN (VERBOSE, COSTS OFF) "+query)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return strings.Join(lines, "\n")
}

// as connects as a role that has only the granted rights. In grants, ROLE stands for its name.
func (db *testBundle) as(t *testing.T, grants ...string) (conn *postgres.DB, role string) {
	t.Helper()
	role = "role_" + db.Name
	db.Do(t, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() {
		_, err := db.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role)
		require.NoError(t, err)
	})
	for _, grant := range grants {
		db.Do(t, strings.ReplaceAll(grant, "ROLE", role))
	}
	conn, err := postgres.Open(t.Context(), postgres.Config{URL: strings.Replace(db.URL, "//postgres@", "//"+role+"@", 1)})
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	return conn, role
}

// ownership makes a role the owner of the schema analytics.
func ownership() []string {
	return []string{
		"ALTER SCHEMA analytics OWNER TO ROLE", "ALTER VIEW analytics.events OWNER TO ROLE",
		"GRANT ALL ON ALL TABLES IN SCHEMA analytics TO ROLE",
		"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics TO ROLE",
	}
}

func TestExists(t *testing.T) {
	t.Parallel()

	t.Run("Function", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		db.Do(t, `
			CREATE FUNCTION app.remote_events() RETURNS TABLE (a bigint, b text, c timestamptz) LANGUAGE sql
			AS $$ SELECT 1::bigint, 'view', now() $$;
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT r.a::analytics.entity_id AS entity_id, r.b AS event_type, r.c AS created_at FROM app.remote_events() AS r`)
		exists, err := source.Exists(t.Context(), db.DB.DB)
		require.NoError(t, err)
		require.True(t, exists)
	})
	t.Run("Placeholder", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		exists, err := source.Exists(t.Context(), db.DB.DB)
		require.NoError(t, err)
		require.False(t, exists)
		_, err = source.Show(t.Context(), db.DB.DB)
		require.ErrorIs(t, err, source.ErrNone)
		require.ErrorContains(t, err, "daymill source create")
	})
	t.Run("Table", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		exists, err := source.Exists(t.Context(), db.DB.DB)
		require.NoError(t, err)
		require.True(t, exists)
	})
}

func TestShow(t *testing.T) {
	t.Parallel()

	t.Run("ChangedByHand", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		db.Do(t, `
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT product_id::bigint::analytics.entity_id AS entity_id, lower(kind) AS event_type, occurred_at::timestamptz AS created_at
			FROM app.events`)
		shown := db.show(t)
		require.True(t, shown.HandWritten)
		require.Empty(t, shown.Table)
		require.Equal(t, []string{"app.events"}, shown.Reads)
		require.Contains(t, shown.Definition, "lower(")
	})
	t.Run("EverySearchPath", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.set(t, options)
		db.Do(t, "ALTER DATABASE "+db.Name+" SET search_path = app, analytics, public")
		other, err := postgres.Open(t.Context(), postgres.Config{URL: db.URL})
		require.NoError(t, err)
		defer other.Close()
		shown, err := source.Show(t.Context(), other)
		require.NoError(t, err)
		require.False(t, shown.HandWritten)
		require.Contains(t, shown.Definition, "FROM app.events")
	})
	t.Run("HandWritten", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Bigint)
		db.RawEvents(t)
		shown := db.show(t)
		require.True(t, shown.HandWritten)
		require.Nil(t, shown.SetAt)
		require.Equal(t, []string{"public.raw_events"}, shown.Reads)
	})
	t.Run("NewerPostgresWritesItInOtherWords", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		options.Map = map[string]string{"LIKE": "click"}
		options.Where = "kind <> 'bot'"
		db.set(t, options)
		db.Do(t, "UPDATE analytics.source SET view_definition = view_definition || ' -- in other words'")
		shown := db.show(t)
		require.False(t, shown.HandWritten)
		require.Equal(t, "app", shown.Schema)

		db.Do(t, "UPDATE analytics.source SET condition = 'kind <> ''robot'''")
		require.True(t, db.show(t).HandWritten)
	})
	t.Run("Set", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		options.Map = map[string]string{"LIKE": "click", "SEEN": "view"}
		options.Where = " kind <> 'bot' "
		db.set(t, options)
		shown := db.show(t)
		require.NotNil(t, shown.SetAt)
		require.NotEmpty(t, shown.Definition)
		require.Equal(t, "app.events product_id kind occurred_at", strings.Join(
			[]string{shown.Schema + "." + shown.Table, shown.Entity, shown.Type, shown.Time}, " "))
		require.Equal(t, options.Map, shown.Map)
		require.Equal(t, "kind <> 'bot'", shown.Where)
		require.Empty(t, shown.TimeZone)
		require.Equal(t, []string{"app.events"}, shown.Reads)
	})
	t.Run("ThroughViews", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, "CREATE VIEW app.inner_events AS SELECT * FROM app.events; CREATE VIEW app.outer_events AS SELECT * FROM app.inner_events")
		options.Table = "app.outer_events"
		db.set(t, options)
		require.Equal(t, []string{"app.events", "app.inner_events", "app.outer_events"}, db.show(t).Reads)
	})
}
