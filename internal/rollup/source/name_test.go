package source_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/source"
)

func TestNames(t *testing.T) {
	t.Parallel()

	t.Run("AsSQLReadsThem", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		db.Do(t, `CREATE TABLE public.plain (LIKE app.events); CREATE TABLE app."Plain" (LIKE app.events)`)
		for name, found := range map[string]string{
			"app.events":     "app.events",
			"APP.Events":     "app.events",
			"app . events":   "app.events",
			`"app"."events"`: "app.events",
			"plain":          "public.plain",
			`app."Plain"`:    "app.Plain",
			"app.Plain":      "app.Plain", // as it stands, since there is no app.plain
		} {
			options.Table = name
			db.set(t, options)
			shown := db.show(t)
			require.Equal(t, found, shown.Schema+"."+shown.Table, name)
		}
	})
	t.Run("Columns", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.UUID)
		db.Do(t, `CREATE TABLE app.events ("productId" uuid, kind text, "KIND" text, "at" timestamptz)`)
		db.set(t, source.Options{Table: "app.events", Entity: "productId", Type: "KIND", Time: "AT"})
		shown := db.show(t)
		require.Equal(t, "productId kind at", shown.Entity+" "+shown.Type+" "+shown.Time)
		db.set(t, source.Options{Table: "app.events", Entity: `"productId"`, Type: `"KIND"`, Time: "at"})
		require.Equal(t, "KIND", db.show(t).Type)
		requireRefused(t, db, source.Options{Table: "app.events", Entity: "product_id", Type: "kind", Time: "at"},
			`app.events has no column "product_id" for --entity: its columns are "productId", kind, "KIND", at`)
		requireRefused(t, db, source.Options{Table: "app.events", Entity: "productId", Type: "kind", Time: "ctid"}, "--time")
		requireRefused(t, db, source.Options{Table: "app.events", Entity: "productId", Type: "a.kind", Time: "at"}, "--type")
		requireRefused(t, db, source.Options{Table: "app.events", Entity: "productId", Type: "kind", Time: ""}, "--time")
	})
	t.Run("Hostile", func(t *testing.T) {
		t.Parallel()
		db := setup(t, entity.UUID)
		for _, name := range []string{
			`"`, `""`, `'`, `a"b`, `a.b`, `a b`, `Table`, `select`, `;DROP TABLE app.events`, `a"; DROP TABLE x; --`, `(`, `)`, `$1`,
			`é→ß`, `\`, strings.Repeat("x", 63), strings.Repeat("é", 31), `%s`, `%detail`, `{}`, `*`, `e`, `events`, `created_at`, "a\nb",
		} {
			quoted := pgx.Identifier{name}.Sanitize()
			column := func(piece string) string { return pgx.Identifier{fit(name, piece)}.Sanitize() }
			db.Do(t, "CREATE SCHEMA "+quoted+"; CREATE TABLE "+quoted+"."+quoted+" ("+
				column("entity")+" uuid NOT NULL, "+column("type")+" text, "+column("time")+" timestamptz)")
			db.Do(t, "INSERT INTO "+quoted+"."+quoted+" VALUES ('00000000-0000-0000-0000-000000000007', 'view', '2026-03-01 00:00:00+00')")
			options := source.Options{
				Table: quoted + "." + quoted, Entity: column("entity"),
				Type: fit(name, "type"), Time: fit(name, "time"),
			}
			db.set(t, options)
			require.Equal(t, []string{"00000000-0000-0000-0000-000000000007 view 2026-03-01 00:00:00.000"}, db.events(t))
			shown := db.show(t)
			require.False(t, shown.HandWritten)
			require.Equal(t, []string{name, name, fit(name, "time")}, []string{shown.Schema, shown.Table, shown.Time})

			// The statement that check prints is run as it stands.
			report := db.check(t)
			require.Contains(t, report, "failure: ")
			_, statement, _ := strings.Cut(report, "CREATE INDEX CONCURRENTLY ")
			statement, _, found := strings.Cut(statement, ";\n  if rows arrive")
			require.True(t, found)
			db.Do(t, "CREATE INDEX CONCURRENTLY "+statement)
			require.Empty(t, db.check(t))
		}
	})
	t.Run("Missing", func(t *testing.T) {
		t.Parallel()
		db, options := setupEvents(t)
		for name, says := range map[string]string{
			"app.evnts":                      `there is no table "app.evnts": write it as schema.table`,
			"events":                         "there is no table",
			"":                               "there is no table",
			"a.b.c":                          "too many parts",
			"app.events; DROP TABLE app.x":   "there is no table",
			"app.events, app.events":         "there is no table",
			`app."events`:                    "there is no table",
			"(SELECT 1)":                     "there is no table",
			"app.events AS e":                "there is no table",
			strings.Repeat("x", 10_000):      "there is no table",
			"app." + strings.Repeat("é", 63): "there is no table",
		} {
			options.Table = name
			requireRefused(t, db, options, says)
		}
	})
}

// fit puts two pieces together to a name of at most 63 bytes.
func fit(name, piece string) string {
	for len(name)+len(piece) > 63 {
		runes := []rune(name)
		name = string(runes[:len(runes)-1])
	}
	return name + piece
}
