package source_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/source"
)

func TestEntityColumn(t *testing.T) {
	t.Parallel()

	const id = "0190163d-8694-739b-aea5-966c26f8ad91"
	// What each type of column names entities as, by the type that the database is installed for; "" is refused.
	type named map[entity.Type]string
	columns := []struct {
		kind, value string
		named       named
	}{
		{"app.a_domain", id, named{entity.UUID: id, entity.Text: id}},
		{"app.a_kind", "sad", named{entity.Text: "sad"}},
		{"bigint", "-9223372036854775808", named{entity.Bigint: "-9223372036854775808", entity.Text: "-9223372036854775808"}},
		{"boolean", "true", nil},
		{"bytea", "a", nil},
		{"char(4)", "ab", named{entity.Text: "ab"}},
		{"citext", "Ab", named{entity.Text: "Ab"}},
		{"date", "2026-03-01", nil},
		{"double precision", "1", nil},
		{"integer", "-5", named{entity.Bigint: "-5", entity.Text: "-5"}},
		{"jsonb", "1", nil},
		{"name", "ab", named{entity.Text: "ab"}},
		{"numeric(20,0)", "5", nil},
		{"smallint", "5", named{entity.Bigint: "5", entity.Text: "5"}},
		{"text", "é", named{entity.Text: "é"}},
		{"text[]", "{}", nil},
		{"uuid", id, named{entity.UUID: id, entity.Text: id}},
		{"varchar(8)", "Ab", named{entity.Text: "Ab"}},
	}
	for _, installed := range []entity.Type{entity.Bigint, entity.Text, entity.UUID} {
		t.Run("Casts "+string(installed), func(t *testing.T) {
			t.Parallel()
			db := setup(t, installed)
			db.Do(t, `CREATE EXTENSION citext; CREATE TYPE app.a_kind AS ENUM ('sad'); CREATE DOMAIN app.a_domain AS uuid`)
			for _, column := range columns {
				db.Do(t, `DROP TABLE IF EXISTS app.other; CREATE TABLE app.other (who `+column.kind+`, what text, at timestamptz);
					INSERT INTO app.other VALUES ('`+column.value+`', 'view', '2026-03-01 00:00:00+00')`)
				options := source.Options{Table: "app.other", Entity: "who", Type: "what", Time: "at"}
				if want := column.named[installed]; want != "" {
					db.set(t, options)
					require.Equal(t, []string{want + " view 2026-03-01 00:00:00.000"}, db.events(t), column.kind)
					require.False(t, db.show(t).HandWritten, column.kind)
				} else {
					requireRefused(t, db, options, "cannot be the entity in a database that was installed for "+string(installed), "by hand")
				}
				// The view no longer uses the table.
				db.Do(t, `CREATE OR REPLACE VIEW analytics.events AS
					SELECT NULL::analytics.entity_id AS entity_id, NULL::text AS event_type, NULL::timestamptz AS created_at WHERE false`)
			}
		})
	}

	t.Run("StaysNative", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			installed                 entity.Type
			native, value, comparison string
		}{
			{entity.Bigint, "bigint", "42", "(events.who = '42'::bigint)"},
			{entity.Text, "text", "a", "(events.who = 'a'::text COLLATE \"C\")"},
			{entity.UUID, "uuid", id, "(events.who = '" + id + "'::uuid)"},
		} {
			db := setup(t, c.installed)
			collation := ""
			if c.installed == entity.Text {
				collation = `COLLATE "C"`
			}
			db.Do(t, "CREATE TABLE app.events (who "+c.native+" "+collation+", what text, at timestamptz); CREATE INDEX ON app.events (who)")
			db.Do(t, "INSERT INTO app.events SELECT NULL, 'view', now() FROM generate_series(1, 5000); ANALYZE app.events")
			db.set(t, source.Options{Table: "app.events", Entity: "who", Type: "what", Time: "at"})
			plan := db.plan(t, "SELECT count(*) FROM analytics.events AS e WHERE e.entity_id = '"+c.value+"'::text::analytics.entity_id")
			require.Contains(t, plan, "Index Cond: ")
			require.Contains(t, plan, c.comparison)
			if c.installed != entity.Text {
				require.NotContains(t, plan, "::text")
				plan = db.plan(t, `SELECT e.entity_id, count(*) FROM analytics.events AS e
					WHERE e.entity_id > '`+c.value+`'::text::analytics.entity_id AND e.created_at >= now() GROUP BY e.entity_id`)
				require.NotContains(t, plan, "::text")
				require.Contains(t, plan, "(events.who > '"+c.value+"'::"+c.native+")")
			}
		}
	})
}

func TestTimeColumn(t *testing.T) {
	t.Parallel()

	setupColumn := func(t *testing.T, kind, value string) (*testBundle, source.Options) {
		t.Helper()
		db := setup(t, entity.Bigint)
		db.Do(t, `CREATE DOMAIN app.moment AS timestamptz;
			CREATE TABLE app.events (who bigint, what text, at `+kind+`);
			INSERT INTO app.events VALUES (1, 'view', '`+value+`')`)
		return db, source.Options{Table: "app.events", Entity: "who", Type: "what", Time: "at"}
	}

	for kind, says := range map[string]string{
		"bigint":           "to_timestamp(at) AS created_at, and an index on (to_timestamp(at))",
		"date":             "(at::timestamp AT TIME ZONE 'UTC') AS created_at",
		"double precision": "to_timestamp(at)",
		"text":             "give a timestamptz or timestamp column",
		"time":             "give a timestamptz or timestamp column",
	} {
		t.Run("Refused "+kind, func(t *testing.T) {
			t.Parallel()
			value := map[string]string{"bigint": "1", "date": "2026-03-01", "double precision": "1", "text": "a", "time": "12:00"}[kind]
			db, options := setupColumn(t, kind, value)
			requireRefused(t, db, options, kind, says)
		})
	}
	for _, kind := range []string{"app.moment", "timestamptz", "timestamptz(0)", "timestamptz(3)"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			db, options := setupColumn(t, kind, "2026-03-01 12:00:00+01")
			db.set(t, options)
			require.Equal(t, []string{"1 view 2026-03-01 11:00:00.000"}, db.events(t))
			require.Contains(t, db.check(t), "CREATE INDEX CONCURRENTLY ON app.events (at);")
			db.Do(t, "CREATE INDEX CONCURRENTLY ON app.events (at)")
			require.Empty(t, db.checkNotNull(t))
			options.TimeZone = "UTC"
			requireRefused(t, db, options, "--time-zone is for a timestamp without time zone")
		})
	}
	t.Run("timestamp", func(t *testing.T) {
		t.Parallel()
		db, options := setupColumn(t, "timestamp", "2026-03-01 12:00:00")
		db.set(t, options)
		require.Equal(t, []string{"1 view 2026-03-01 12:00:00.000"}, db.events(t))
		require.Equal(t, "UTC", db.show(t).TimeZone)
		require.Contains(t, db.check(t), "CREATE INDEX CONCURRENTLY ON app.events ((at AT TIME ZONE 'UTC'::text));")
		db.Do(t, "CREATE INDEX ON app.events (at)") // The index cannot be used.
		require.Contains(t, db.check(t), "failure: app.events has no index")
		db.Do(t, "CREATE INDEX CONCURRENTLY ON app.events ((at AT TIME ZONE 'UTC'::text));")
		require.Empty(t, db.checkNotNull(t))
	})
	t.Run("timestamp in a zone", func(t *testing.T) {
		t.Parallel()
		db, options := setupColumn(t, "timestamp(3)", "2026-07-01 12:00:00")
		options.TimeZone = "europe/BERLIN"
		db.set(t, options)
		require.Equal(t, []string{"1 view 2026-07-01 10:00:00.000"}, db.events(t))
		require.Equal(t, "Europe/Berlin", db.show(t).TimeZone)
		statement := "CREATE INDEX CONCURRENTLY ON app.events ((at AT TIME ZONE 'Europe/Berlin'::text));"
		require.Contains(t, db.check(t), statement)
		db.Do(t, statement)
		require.Empty(t, db.checkNotNull(t))
		for _, name := range []string{"Nowhere/Atoll", "UTC'; DROP TABLE app.events; --"} {
			options.TimeZone = name
			requireRefused(t, db, options, "there is no time zone")
		}
	})
}

func TestTypeColumn(t *testing.T) {
	t.Parallel()
	db := setup(t, entity.Bigint)
	db.Do(t, `CREATE EXTENSION citext; CREATE TYPE app.a_kind AS ENUM ('sad')`)
	for i, column := range []struct{ kind, value, shown string }{
		{`"char"`, "v", "v"},
		{"app.a_kind", "sad", "sad"},
		{"boolean", "true", ""},
		{"char(8)", "view", "view"},
		{"citext", "View", "View"},
		{"integer", "3", "3"},
		{"jsonb", "{}", ""},
		{"name", "view", "view"},
		{"numeric(4,1)", "3", "3.0"},
		{"smallint", "3", "3"},
		{"text", "view", "view"},
		{"timestamptz", "now", ""},
		{"uuid", "0190163d-8694-739b-aea5-966c26f8ad91", ""},
		{"varchar(8)", "view", "view"},
	} {
		table := fmt.Sprintf("app.events_%d", i)
		db.Do(t, `CREATE TABLE `+table+` (who bigint, what `+column.kind+`, at timestamptz);
			INSERT INTO `+table+` VALUES (1, '`+column.value+`', '2026-03-01 00:00:00+00'), (2, NULL, '2026-03-01 00:00:00+00')`)
		options := source.Options{Table: table, Entity: "who", Type: "what", Time: "at"}
		if column.shown == "" {
			requireRefused(t, db, options, "cannot be the event type", "by hand")
			continue
		}
		db.set(t, options)
		at := " 2026-03-01 00:00:00.000"
		require.Equal(t, []string{"1 " + column.shown + at, "2 NULL" + at}, db.events(t), column.kind)
		options.Map = map[string]string{column.shown: "click"}
		db.set(t, options)
		require.Equal(t, []string{"1 click" + at, "2 NULL" + at}, db.events(t), column.kind)
		require.False(t, db.show(t).HandWritten, column.kind)
	}
}
