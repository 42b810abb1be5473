package source_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
)

func TestCheck(t *testing.T) {
	t.Parallel()

	t.Run("AllInOrder", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		db.set(t, options)
		report, err := source.Check(t.Context(), db.DB.DB, db.Installation)
		require.NoError(t, err)
		require.False(t, report.Failed())
		require.Equal(t, 5, report.Count(source.OK))
		require.Len(t, report, 5)
		require.Equal(t, "analytics.events reads app.events", report[0].Sentence)
		require.Equal(t, "the index app.events_occurred_at_idx (btree) on occurred_at finds a slice's events", report[3].Sentence)
	})
	t.Run("Dropped", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		db.set(t, options)
		db.Do(t, "DROP VIEW analytics.events CASCADE")
		require.Contains(t, db.check(t), "failure: analytics.events is missing")
		_, err := source.Show(t.Context(), db.DB.DB)
		require.ErrorIs(t, err, source.ErrNone)
		db.set(t, options)
		require.Empty(t, db.check(t))
	})
	t.Run("Entity", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.Text)
		db.Do(t, `
			CREATE EXTENSION citext;
			CREATE TABLE app.events (a citext, b uuid NOT NULL, what text, at timestamptz);
			CREATE INDEX ON app.events (at)`)
		db.set(t, source.Options{Table: "app.events", Entity: "a", Type: "what", Time: "at"})
		report := db.check(t)
		require.Contains(t, report, "warning: app.events.a can be null: rows without an entity are not counted")
		require.Contains(t, report, "warning: app.events.a is citext")
		db.Do(t, `CREATE COLLATION app.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
			ALTER TABLE app.events ADD COLUMN c text COLLATE app.loose NOT NULL`)
		db.set(t, source.Options{Table: "app.events", Entity: "c", Type: "what", Time: "at"})
		require.Contains(t, db.check(t), "warning: app.events.c has a nondeterministic collation: ids that it considers equal")
		db.set(t, source.Options{Table: "app.events", Entity: "b", Type: "c", Time: "at"})
		require.Contains(t, db.check(t), "warning: app.events.c considers different texts equal")
		db.set(t, source.Options{Table: "app.events", Entity: "b", Type: "what", Time: "at"})
		require.Empty(t, db.check(t))
		all, err := source.Check(t.Context(), db.DB.DB, db.Installation)
		require.NoError(t, err)
		require.Equal(t, "the entity is the text of app.events.b, whose type is uuid", all[3].Sentence)
	})
	t.Run("ReadsNoEvent", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `
			CREATE INDEX ON app.events (occurred_at);
			CREATE FUNCTION app.explode(integer) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'a row was read'; END $$;
			CREATE OR REPLACE VIEW analytics.events AS
			SELECT app.explode(product_id)::analytics.entity_id AS entity_id, kind::text AS event_type, occurred_at::timestamptz AS created_at
			FROM app.events`)
		_, err := db.Exec(t.Context(), "SELECT * FROM analytics.events")
		require.ErrorContains(t, err, "a row was read")
		require.Empty(t, db.check(t))
	})
	t.Run("Rights", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		db.set(t, options)
		conn, role := db.as(t, "GRANT USAGE ON SCHEMA analytics TO ROLE",
			"GRANT SELECT ON analytics.installation, analytics.source, analytics.source_reads, analytics.watches TO ROLE")
		one := func() source.Finding {
			t.Helper()
			report, err := source.Check(t.Context(), conn, db.Installation)
			require.NoError(t, err)
			for _, finding := range report {
				if finding.Level != source.OK {
					return finding
				}
			}
			return source.Finding{}
		}
		require.Equal(t, source.Finding{
			Level: source.Failure, Sentence: "the role " + role + " may not read analytics.events",
			Fix: []string{"GRANT SELECT ON analytics.events TO " + role + ";"},
		}, one())
		db.Do(t, "GRANT SELECT ON analytics.events TO "+role)
		require.Empty(t, one().Sentence, "the table is read with the rights of the view's owner")

		db.Do(t, "ALTER VIEW analytics.events OWNER TO "+role)
		require.Equal(t, source.Finding{
			Level: source.Failure, Sentence: "the role " + role + " may not read app.events",
			Fix: []string{"GRANT SELECT ON app.events TO " + role + ";"},
		}, one())
		db.Do(t, "GRANT SELECT (id) ON app.events TO "+role)
		require.Contains(t, one().Sentence, "analytics.events cannot be read: permission denied for table events")
		db.Do(t, "GRANT SELECT ON app.events TO "+role)
		require.Empty(t, one().Sentence)

		db.Do(t, "ALTER TABLE app.events ENABLE ROW LEVEL SECURITY")
		require.Equal(t, source.Warning, one().Level)
		require.Contains(t, one().Sentence, "row-level security is on for app.events: rows that its policies hide from "+role)
		db.Do(t, "ALTER VIEW analytics.events OWNER TO postgres; GRANT SELECT ON analytics.events TO "+role)
		require.Empty(t, one().Sentence, "a superuser's view shows every row")
		db.Do(t, "ALTER TABLE app.events OWNER TO "+role+"; ALTER VIEW analytics.events OWNER TO "+role)
		require.Empty(t, one().Sentence, "policies do not hold for the table's owner")
		db.Do(t, "ALTER TABLE app.events FORCE ROW LEVEL SECURITY")
		require.Equal(t, source.Warning, one().Level)
	})
	t.Run("RightsOfTheInvoker", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		if db.Server.Binaries.Major < 15 {
			return // It has no such views.
		}
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		db.set(t, options)
		db.Do(t, "ALTER VIEW analytics.events SET (security_invoker = true)")
		conn, role := db.as(t, "GRANT USAGE ON SCHEMA analytics TO ROLE", "GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO ROLE")
		report, err := source.Check(t.Context(), conn, db.Installation)
		require.NoError(t, err)
		require.Equal(t, "the role "+role+" may not read app.events", report[len(report)-1].Sentence)
		require.Empty(t, db.check(t))
	})
	t.Run("Types", func(t *testing.T) {
		t.Parallel()
		db, _ := setupEvents(t)
		db.Do(t, `
			DROP VIEW analytics.events CASCADE;
			CREATE VIEW analytics.events AS SELECT product_id AS entity_id, kind AS event_type, occurred_at::date AS created_at FROM app.events`)
		report := db.check(t)
		require.Contains(t, report, "failure: the column entity_id of analytics.events has the type integer instead of analytics.entity_id\n"+
			"  cast it in the view: entity_id::analytics.entity_id\n")
		require.Contains(t, report, "failure: the column event_type of analytics.events has the type character varying(20) instead of text\n")
		require.Contains(t, report, "failure: the column created_at of analytics.events has the type date instead of timestamp with time zone\n")
		db.Do(t, `DROP VIEW analytics.events; CREATE VIEW analytics.events AS SELECT id::analytics.entity_id AS entity_id FROM app.events`)
		require.Contains(t, db.check(t), "failure: analytics.events has no column created_at\n")
	})
	t.Run("TypesWhateverTheSearchPath", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, "CREATE INDEX ON app.events (occurred_at)")
		db.set(t, options)
		db.Do(t, "ALTER DATABASE "+db.Name+" SET search_path = analytics, app")
		conn, err := postgres.Open(t.Context(), postgres.Config{URL: db.URL})
		require.NoError(t, err)
		defer conn.Close()
		report, err := source.Check(t.Context(), conn, db.Installation)
		require.NoError(t, err)
		require.Equal(t, len(report), report.Count(source.OK))
	})
	t.Run("WithoutASource", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.UUID)
		require.Equal(t, "failure: analytics.events reads no table\n  run `daymill source set --table … --entity … --type … --time …`, "+
			"or `daymill source create` for a new table\n", db.check(t))
	})
}
