package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// attack is the text of names and values in this test: it ends a string, a name and a comment, and drops a table.
const attack = `a'";$$--*/ DROP TABLE public.canary; --`

// TestHostileNames uses an attack for every name and value that reaches SQL, from the installation to the metrics.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	count := func(sql string, arguments ...any) (n int) {
		t.Helper()
		require.NoError(t, db.QueryRow(t.Context(), sql, arguments...).Scan(&n))
		return n
	}
	quoted := pgx.Identifier{attack}.Sanitize()
	column := func(name string) string { return pgx.Identifier{name + attack}.Sanitize() }
	db.Do(t, "CREATE TABLE public.canary (alive integer)")
	requireOK(t, db.URL, "migrate", "--entity-type", "text", "--timezone", "UTC", "--river-schema", "Select")
	require.Equal(t, 1, count("SELECT count(*) FROM pg_tables WHERE schemaname = $1 AND tablename = 'river_job'", "Select"))

	db.Do(t, fmt.Sprintf("CREATE SCHEMA shop; CREATE TABLE shop.%s (%s text NOT NULL, %s text, %s timestamptz NOT NULL)",
		quoted, column("e"), column("t"), column("i")))
	db.Do(t, fmt.Sprintf("CREATE INDEX ON shop.%s (%s)", quoted, column("i")))
	requireOK(t, db.URL, "source", "set", "--table", "shop."+quoted, "--entity", column("e"), "--type", column("t"), "--time", column("i"),
		"--map", "old "+attack+"="+attack, "--where", column("t")+" <> "+"'"+strings.ReplaceAll(attack, "'", "''")+" none'")
	requireOK(t, db.URL, "source", "show")
	requireOK(t, db.URL, "source", "watch", "--no-measure")

	// Headers and values of files: fields of CSV and of JSON.
	b := &importBundle{db: db, dir: t.TempDir(), stdin: strings.NewReader("")}
	field := func(text string) string { return `"` + strings.ReplaceAll(text, `"`, `""`) + `"` }
	file := b.file(t, attack[:6]+".csv", fmt.Sprintf("%s,%s,%s\n", field("e"+attack), field("t"+attack), field("i"+attack))+
		fmt.Sprintf("%s,%s,2026-03-01T10:00:00Z\n", field(attack), field("old "+attack))+
		fmt.Sprintf("%s,%s,2026-03-01T11:00:00Z\n", field(attack), field(attack))+
		field("%s\\N\\."+attack)+",view,2026-03-02T11:00:00Z\n")
	require.Equal(t, exitOK, b.run(t.Context(), "import", file, "--entity", "e"+attack, "--type", "t"+attack, "--time", "i"+attack), b.stderr)
	object := b.file(t, "b.ndjson", fmt.Sprintf(`{"e": %q, "t": %q, "i": "2026-03-02T12:00:00Z"}`+"\n", attack, attack))
	require.Equal(t, exitOK, b.run(t.Context(), "import", object, "--entity", "e", "--type", "t", "--time", "i"), b.stderr)
	bad := b.file(t, "c.csv", fmt.Sprintf("e,t,i\n1,view,%s\n", field(attack)))
	require.Equal(t, exitUsage, b.run(t.Context(), "import", bad, "--entity", "e", "--type", "t", "--time", "i"))
	require.NotContains(t, b.stderr, "SQLSTATE")
	db.Do(t, fmt.Sprintf("INSERT INTO shop.%s VALUES ('late', 'view', '2026-03-03 00:00+00')", quoted))
	require.Equal(t, 1, count("SELECT count(*) FROM analytics.rollup_requests WHERE metric_date = '2026-03-03' AND requested_via = 'watch'"))

	first := date.MustParse("2026-03-01")
	for i := range 3 {
		requireOK(t, db.URL, "rollup", first.AddDays(i).String(), "--pace", "0", "--max-entities", "1")
	}
	require.EqualValues(t, 5, pgtest.RequireExact(t, db, first, first.AddDays(1), first.AddDays(2)).Events)
	require.Equal(t, 2, count("SELECT (other_counts ->> $1)::integer FROM analytics.daily_entity_metrics WHERE entity_id = $1 AND metric_date = '2026-03-01'", attack))
	requireOK(t, db.URL, "verify", "2026-03-01..2026-03-03", "--max-entities", "1")
	require.Contains(t, statusText(t, db.URL, "--json"), "findings")
	requireOK(t, db.URL, "backfill", "start", "2026-03-01..2026-03-03", "--every-date")
	code, stdout, stderr := command(t.Context(), db.URL, "doctor")
	require.Contains(t, []int{exitOK, exitFailed}, code, stderr)
	require.NotContains(t, stdout, "SQLSTATE")

	// A worker takes its jobs from the schema with that name, and completes the requests.
	worker := start(t, "--database-url", db.URL, "worker", "--pace", "0")
	requireOK(t, db.URL, "enqueue", "2026-03-01..2026-03-03")
	require.Eventually(t, func() bool {
		return count("SELECT count(*) FROM analytics.rollup_requests WHERE resolved_at IS NULL") == 0
	}, waitFor, tick, worker.stderr.String())
	require.Equal(t, exitOK, worker.stop(t))

	// Input on the command line is refused with a sentence, and does no harm.
	for _, args := range [][]string{
		{"enqueue", attack},
		{"enqueue", "2026-03-01.." + attack},
		{"rollup", attack},
		{"verify", attack},
		{"verify", "--seed", attack},
		{"backfill", "start", attack},
		{"backfill", "show", attack},
		{"backfill", "cancel", attack},
		{"source", "retention", attack},
		{"source", "set", "--table", attack, "--entity", "e", "--type", "t", "--time", "i"},
		{"source", "set", "--table", "shop." + quoted, "--entity", attack, "--type", "t", "--time", "i"},
		{"source", "set", "--table", "shop." + quoted, "--entity", column("e"), "--type", column("t"), "--time", column("i"), "--time-zone", attack},
		{"source", "watch", "--table", attack, "--time", attack},
		{"source", "unwatch", "--table", attack},
		{"migrate", "--timezone", attack},
		{"migrate", "--entity-type", attack},
		{"migrate", "--river-schema", attack + "2"},
		{"import", filepath.Join(b.dir, attack)},
		{"import", file, "--time-format", attack},
		{"import", file, "--entity", "\x00"},
		{"status", "--runs", attack},
		{"enqueue", "2026-03-01\x00"},
		{"source", "set", "--table", "\xff", "--entity", "\xff", "--type", "\xff", "--time", "\xff"},
	} {
		code, stdout, stderr := command(t.Context(), db.URL, args...)
		require.Contains(t, []int{exitUsage, exitFailed}, code, "%q: %s%s", args, stdout, stderr)
		require.NotContains(t, stdout+stderr, "SQLSTATE", "%q", args)
		require.NotContains(t, stdout+stderr, "goroutine", "%q", args)
	}
	require.Equal(t, 0, count("SELECT count(*) FROM public.canary"))
	requireOK(t, db.URL, "source", "unwatch")
	requireOK(t, db.URL, "migrate", "--down", "--steps", "0", "--force")
	require.Equal(t, 0, count("SELECT count(*) FROM public.canary"))
	require.Equal(t, 5, count("SELECT count(*) FROM shop."+quoted))
}
