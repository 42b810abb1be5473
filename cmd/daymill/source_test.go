package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestSource(t *testing.T) {
	t.Parallel()

	type testBundle struct {
		*pgtest.DB

		run func(args ...string) (code int, stdout, stderr string)
	}
	setup := func(t *testing.T) *testBundle {
		t.Helper()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint})
		_, err := db.Exec(t.Context(), `
			CREATE SCHEMA app;
			CREATE TABLE app.events (product_id integer NOT NULL, kind text, occurred_at timestamptz)`)
		require.NoError(t, err)
		return &testBundle{DB: db, run: func(args ...string) (int, string, string) {
			var stdout, stderr bytes.Buffer
			a := &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr}
			code := execute(t.Context(), a, append([]string{"source"}, append(args, "--database-url", db.URL)...))
			return code, stdout.String(), stderr.String()
		}}
	}
	set := func(more ...string) []string {
		return append([]string{"set", "--table", "app.events", "--entity", "product_id", "--type", "kind", "--time", "occurred_at"}, more...)
	}

	t.Run("Check", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		code, stdout, _ := db.run("check")
		require.Equal(t, exitFailed, code)
		require.Contains(t, stdout, "failure  analytics.events reads no table\n         run `daymill source set")

		code, _, _ = db.run(set()...)
		require.Equal(t, exitOK, code)
		code, stdout, stderr := db.run("check")
		require.Equal(t, exitFailed, code)
		require.Contains(t, stdout, "\n         CREATE INDEX CONCURRENTLY ON app.events (occurred_at);\n")
		require.Equal(t, "daymill: analytics.events cannot be rolled up: see the failures above, and what fixes them\n", stderr)

		_, err := db.Exec(t.Context(), "CREATE INDEX CONCURRENTLY ON app.events (occurred_at)")
		require.NoError(t, err)
		_, err = db.Exec(t.Context(), "ALTER TABLE app.events ALTER COLUMN product_id DROP NOT NULL")
		require.NoError(t, err)
		code, stdout, stderr = db.run("check")
		require.Equal(t, exitOK, code, "warnings are not failures")
		require.Contains(t, stdout, "warning  app.events.product_id can be null")
		require.Empty(t, stderr)
	})
	t.Run("Create", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		code, stdout, _ := db.run("create")
		require.Equal(t, exitOK, code)
		require.Equal(t, "created public.raw_events (id, entity_id bigint, event_type, created_at), which analytics.events now reads\n", stdout)
		code, stdout, _ = db.run("check")
		require.Equal(t, exitOK, code)
		require.NotContains(t, stdout, "warning")
		code, _, stderr := db.run("create")
		require.Equal(t, exitFailed, code)
		require.Contains(t, stderr, "public.raw_events already exists")
	})
	t.Run("Set", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		code, stdout, stderr := db.run(set("--map", "LIKE=click,SEEN=view", "--map", `a\,b=c`, "--map", "x=y=z", "--where", "kind <> 'bot'")...)
		require.Equal(t, exitOK, code, stderr)
		require.True(t, strings.HasPrefix(stdout, "analytics.events now reads app.events\nok "), stdout)
		require.Contains(t, stdout, "failure  app.events has no index")
		require.NotContains(t, stdout, "keep the counts they have")

		code, stdout, _ = db.run("show")
		require.Equal(t, exitOK, code)
		for _, words := range []string{"app.events", "LIKE → click", "SEEN → view", "a,b → c", "x=y → z", "kind <> 'bot'", "FROM app.events"} {
			require.Contains(t, stdout, words)
		}
		code, stdout, _ = db.run(set()...)
		require.Equal(t, exitOK, code)
		require.Contains(t, stdout, "complete dates keep their counts until they are rolled up again\n")
	})
	t.Run("SetOverAHandWrittenView", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		db.RawEvents(t)
		code, stdout, _ := db.run("show")
		require.Equal(t, exitOK, code)
		require.Contains(t, stdout, "was written by hand")
		code, stdout, _ = db.run(set()...)
		require.Equal(t, exitOK, code)
		require.Contains(t, stdout, "analytics.events was written by hand; its definition was:\n")
		require.Contains(t, stdout, "FROM public.raw_events")
	})
	t.Run("SetRefused", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		for says, args := range map[string][]string{
			`--map "LIKE": write it as FROM=TO`:              set("--map", "LIKE"),
			`--map "=click": write it as FROM=TO`:            set("--map", "=click"),
			`--map renames "a" twice, to "b" and to "c"`:     set("--map", "a=b,a=c"),
			`there is no table "app.nothing"`:                set("--table", "app.nothing"),
			"--where is not a condition":                     set("--where", "true; DROP TABLE app.events"),
			"missing flags: --entity=COLUMN, --table=TABLE,": {"set"},
		} {
			code, stdout, stderr := db.run(args...)
			require.Equal(t, exitUsage, code, says)
			require.Contains(t, stderr, says)
			require.NotContains(t, stdout, "analytics.events")
		}
		code, _, stderr := db.run("show")
		require.Equal(t, exitFailed, code)
		require.Contains(t, stderr, "no source is set")
	})
	t.Run("ShowJSON", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		code, _, _ := db.run(set("--map", "LIKE=click")...)
		require.Equal(t, exitOK, code)
		code, stdout, _ := db.run("show", "--json")
		require.Equal(t, exitOK, code)
		var shown map[string]any
		require.NoError(t, json.Unmarshal([]byte(stdout), &shown))
		require.NotEmpty(t, shown["definition"])
		require.NotEmpty(t, shown["set_at"])
		delete(shown, "definition")
		delete(shown, "set_at")
		require.Equal(t, map[string]any{
			"hand_written": false, "table_schema": "app", "table_name": "events", "entity_column": "product_id",
			"type_column": "kind", "time_column": "occurred_at", "type_map": map[string]any{"LIKE": "click"},
			"reads": []any{"app.events"},
		}, shown)
	})
}
