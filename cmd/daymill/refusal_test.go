package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// contents returns a fingerprint of everything that a command may change.
func contents(t *testing.T, db *pgtest.DB) (text string) {
	t.Helper()
	err := db.QueryRow(t.Context(), `SELECT coalesce(string_agg(format('%s.%s %s', schemaname, tablename,
			(xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %I.%I', schemaname, tablename), false, true, '')))[1]),
			E'\n' ORDER BY schemaname, tablename), '')
		FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`).Scan(&text)
	require.NoError(t, err)
	return text
}

// TestRefusals: a mistake gets one sentence that says what is wrong and how to fix it, and changes nothing.
func TestRefusals(t *testing.T) { //nolint:tparallel // See its subtests.
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	empty := pgtest.Empty(t)

	cases := map[string]struct {
		args []string
		url  string // of db if empty
		code int
		want string
	}{
		"BackfillFuture":     {args: []string{"backfill", "start", "2026-03-01..2099-01-01"}, code: exitUsage, want: "more than 3660 dates"},
		"BackfillInFlight":   {args: []string{"backfill", "start", "2026-03-01", "--in-flight", "0"}, code: exitUsage, want: "must be from 1 to 100"},
		"BackfillPause":      {args: []string{"backfill", "start", "2026-03-01", "--pause=-1s"}, code: exitUsage, want: "from 0 to 24 hours"},
		"BackfillPauseUnit":  {args: []string{"backfill", "start", "2026-03-01", "--pause=5"}, code: exitUsage, want: `"5" is not a duration: write it as 30s, 5m, 12h or 90d`},
		"BackfillNumber":     {args: []string{"backfill", "show", "first"}, code: exitUsage, want: `"first" is not a whole number`},
		"EnqueueEntity":      {args: []string{"enqueue", "2026-03-01", "--entity", "abc"}, code: exitUsage, want: `invalid input syntax for type bigint: "abc": write --entity as a bigint`},
		"LogLevel":           {args: []string{"status", "--log-level", "loud"}, code: exitUsage, want: `"loud" is not a level: write debug, info, warn or error`},
		"SinkNoSetting":      {args: []string{"sink", "add", "x"}, code: exitUsage, want: "see `daymill sink add --help`"},
		"WebListenPort":      {args: []string{"web", "--listen", "8080"}, code: exitUsage, want: `--listen is "8080": write it as host:port, such as 127.0.0.1:8080`},
		"WorkerMetricsPort":  {args: []string{"worker", "--metrics-listen", "9464"}, code: exitUsage, want: `--metrics-listen is "9464": write it as host:port`},
		"BackfillToday":      {args: []string{"backfill", "start", "2026-03-01..2026-03-10"}, code: exitUsage, want: "2026-03-10 is not over, today is 2026-03-10"},
		"BackfillUnknown":    {args: []string{"backfill", "show", "17"}, code: exitUsage, want: "backfill 17: there is no such backfill: see `daymill backfill list`"},
		"DateUnknown":        {args: []string{"enqueue", "2026-02-30"}, code: exitUsage, want: `"2026-02-30" is not a date: write it as 2026-03-01`},
		"DemoNotEmpty":       {args: []string{"demo", "--exit"}, code: exitUsage, want: "give it an empty database"},
		"EnqueueFuture":      {args: []string{"enqueue", "2099-01-01"}, code: exitUsage, want: "2099-01-01 is in the future: today is "},
		"EnqueueReversed":    {args: []string{"enqueue", "2026-03-02..2026-03-01"}, code: exitUsage, want: "2026-03-02..2026-03-01: the range is reversed: give the earlier date first"},
		"EnqueueTooLong":     {args: []string{"enqueue", "1926-01-01..2026-01-01"}, code: exitUsage, want: "more than 3660 dates: take at most ten years at a time"},
		"EntityTypeChanged":  {args: []string{"migrate", "--entity-type", "uuid"}, code: exitFailed, want: "the entity type cannot be changed: this database was installed for bigint"},
		"EntityTypeUnknown":  {args: []string{"migrate", "--entity-type", "serial"}, code: exitUsage, want: "entity type must be uuid, bigint or text"},
		"FlagUnknown":        {args: []string{"status", "--frobnicate"}, code: exitUsage, want: "unknown flag --frobnicate"},
		"ImportNoFile":       {args: []string{"import", "/nowhere/at/all.csv"}, code: exitUsage, want: "there is no file /nowhere/at/all.csv"},
		"Pace":               {args: []string{"worker", "--pace=-1"}, code: exitUsage, want: "--pace is -1: give a number from 0"},
		"PoolSize":           {args: []string{"status", "--pool-size", "0"}, code: exitUsage, want: "--pool-size is 0"},
		"RollupToday":        {args: []string{"rollup", "2026-03-10"}, code: exitUsage, want: "2026-03-10 is not over: today is 2026-03-10 in UTC"},
		"SourceNoTable":      {args: []string{"source", "set", "--table", "nope", "--entity", "a", "--type", "b", "--time", "c"}, code: exitUsage, want: "nope"},
		"Unmigrated":         {args: []string{"worker"}, url: empty.URL, code: exitNoDatabase, want: "the database is not migrated: run `daymill migrate`"},
		"UnmigratedStatus":   {args: []string{"status"}, url: empty.URL, code: exitNoDatabase, want: "the database is not migrated: run `daymill migrate`"},
		"URLBroken":          {args: []string{"status"}, url: "postgres://u:secret@[half", code: exitUsage, want: "the database URL cannot be read"},
		"URLNoDatabase":      {args: []string{"status"}, url: strings.Replace(db.URL, db.Name, "nowhere", 1), code: exitNoDatabase, want: `database "nowhere" does not exist: correct the URL, or create the database with createdb`},
		"URLNobodyAnswers":   {args: []string{"status"}, url: "postgres://u:secret@127.0.0.1:1/x", code: exitNoDatabase, want: `the database cannot be reached at 127.0.0.1:1 (database "x", user "u"): connect: connection refused: start Postgres there, or correct the host and port of the URL`},
		"VerbUnknown":        {args: []string{"rolup"}, code: exitUsage, want: "rolup"},
		"ZoneUnknown":        {args: []string{"migrate", "--timezone", "Europe/Nowhere"}, code: exitUsage, want: `there is no such time zone: "Europe/Nowhere"; give an IANA name`},
		"WorkersTooMany":     {args: []string{"worker", "--workers", "1000"}, code: exitUsage, want: "--workers is 1000: give a number from 1 to 100"},
		"DailyHourTooLate":   {args: []string{"worker", "--daily-hour", "24"}, code: exitUsage, want: "--daily-hour is 24: give an hour from 0 to 23"},
		"CaptureHoldShort":   {args: []string{"worker", "--capture-hold=1h"}, code: exitUsage, want: "--capture-hold is 1h0m0s"},
		"RetentionNegative":  {args: []string{"worker", "--retention=-1h"}, code: exitUsage, want: "--retention is -1h0m0s"},
		"MaxEntitiesTooFew":  {args: []string{"rollup", "2026-03-01", "--max-entities=-1"}, code: exitUsage, want: "--max-entities is -1: give at least 1"},
		"SourceURLNobody":    {args: []string{"rollup", "2026-03-01", "--source-url", "postgres://u:secret@127.0.0.1:1/x"}, code: exitNoDatabase, want: "open source: the database cannot be reached at 127.0.0.1:1"},
		"DemoDays":           {args: []string{"demo", "--days", "0"}, code: exitUsage, want: "--days is 0"},
		"DemoNotLoopback":    {args: []string{"demo", "--listen", "0.0.0.0:0"}, code: exitUsage, want: "without a password only this machine may open the pages"},
		"ServeNotLoopback":   {args: []string{"serve", "--listen", ":0"}, code: exitUsage, want: "without a password only this machine may open the pages"},
		"ServeWorkers":       {args: []string{"serve", "--workers", "0"}, code: exitUsage, want: "--workers is 0"},
		"WebBasePath":        {args: []string{"web", "--base-path", "daymill"}, code: exitUsage, want: "between single slashes, such as /daymill"},
		"WebBasePathDots":    {args: []string{"web", "--base-path", "/a/../b"}, code: exitUsage, want: "between single slashes, such as /daymill"},
		"WebBasePathHost":    {args: []string{"web", "--base-path", "//evil.example"}, code: exitUsage, want: "between single slashes, such as /daymill"},
		"WebNotLoopback":     {args: []string{"web", "--listen", "0.0.0.0:0"}, code: exitUsage, want: "set DAYMILL_ADMIN_PASSWORD, or listen on 127.0.0.1"},
		"WebNotLoopbackIPv6": {args: []string{"web", "--listen", "[::]:0"}, code: exitUsage, want: "without a password only this machine may open the pages"},
		"WebViewerAlone":     {args: []string{"web", "--listen", "nowhere.invalid:0", "--viewer-password", "correct horse"}, code: exitUsage, want: "cannot listen on nowhere.invalid:0"},
		"WebSecretsEqual":    {args: []string{"web", "--admin-password", "correct horse", "--api-token", "correct horse"}, code: exitUsage, want: "DAYMILL_ADMIN_PASSWORD and DAYMILL_API_TOKEN are equal"},
		"WebSecretShort":     {args: []string{"web", "--api-token", "secret"}, code: exitUsage, want: "DAYMILL_API_TOKEN has fewer than 8 characters"},
		"WorkerTokenShort":   {args: []string{"worker", "--metrics-listen", "127.0.0.1:0", "--metrics-token", "secret"}, code: exitUsage, want: "DAYMILL_METRICS_TOKEN has fewer than 8 characters"},
		"StatusRunsNegative": {args: []string{"status", "--runs=-1"}, code: exitUsage, want: "--runs is -1"},
	}
	db.Insert(t, pgtest.Event{Entity: "1", Type: "view", At: stoppedClock{}.Now()})
	before, beforeEmpty := contents(t, db), contents(t, empty)
	for name, c := range cases { //nolint:paralleltest // Each checks that it has changed nothing.
		t.Run(name, func(t *testing.T) {
			url := c.url
			if url == "" {
				url = db.URL
			}
			b := &importBundle{db: &pgtest.DB{URL: url}, dir: t.TempDir(), stdin: strings.NewReader("")}
			code := b.run(t.Context(), c.args...)
			require.Equal(t, c.code, code, b.stderr)
			require.Contains(t, b.stderr, c.want)
			require.Equal(t, 1, strings.Count(strings.TrimSpace(b.stderr), "daymill: ")+strings.Count(strings.TrimSpace(b.stderr), "\n"),
				"it should be one line: %s", b.stderr)
			require.NotContains(t, b.stderr, "secret")
			require.NotContains(t, b.stderr, "goroutine")
			require.Equal(t, before, contents(t, db))
			require.Equal(t, beforeEmpty, contents(t, empty))
		})
	}
}

// TestNoSource: without a source there is nothing to roll up, and a date is not marked complete because it has no events.
func TestNoSource(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	code, _, stderr := command(t.Context(), db.URL, "rollup", "2026-03-01")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "no source is set")
	var dates int
	require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM analytics.rollup_dates").Scan(&dates))
	require.Zero(t, dates)
}

// TestEnqueueSQLRefusals: statements of an application get the same sentences from SQL.
func TestEnqueueSQLRefusals(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	for arguments, want := range map[string]string{
		"'2026-03-02', '2026-03-01'":   "the range 2026-03-02..2026-03-01 is reversed",
		"'1926-03-02', '2026-03-01'":   "more than 3660",
		"'2099-01-01'":                 "2099-01-01 is in the future",
		"NULL":                         "a rollup needs a date",
		"'infinity'":                   "a rollup needs a date, not infinity",
		"analytics.date_of(now()) + 1": "is in the future",
		"'2026-03-01', analytics.date_of(now()) + 1": "is in the future",
	} {
		_, err := db.Exec(context.WithoutCancel(t.Context()), fmt.Sprintf("SELECT analytics.enqueue_rollup(%s)", arguments))
		require.ErrorContains(t, err, want, arguments)
	}
	var requests int
	require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM analytics.rollup_requests").Scan(&requests))
	require.Zero(t, requests)
}
