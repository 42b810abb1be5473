package view_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/document"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
)

const shop = `
	CREATE TABLE public.customers (id integer PRIMARY KEY, name text);
	CREATE TABLE public.orders (id integer PRIMARY KEY, customer_id integer, at timestamptz);
	CREATE INDEX ON public.orders (customer_id);
	CREATE TABLE public.lines (order_id integer, line integer, item text, PRIMARY KEY (order_id, line))`

const lines = `
name: lines
tables:
  - {table: customers, columns: [{column: id, as: customer_id, key: true}, name]}
  - {table: orders, left: true, join: {id: customer_id}, columns: [{id: order_id}, at]}
  - {table: lines, left: true, to: orders, join: {id: order_id}, columns: [line, item]}`

// TestFaults: known faults of similar tools do not occur here. Others are held elsewhere: changes during a load by TestFill, TestCapturedFirst and
// TestProperty; values that an update does not touch (TOAST), fractions of seconds and arrays by TestOrderReport; traces by TestViewTraces of package
// trace; passwords on pages by the tests of package ui.
func TestFaults(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, sql string, definitions ...string) *testBundle {
		t.Helper()
		b := setup(t, stream.ModeTrigger, sql)
		b.capture(t, stream.ModeTrigger)
		for _, text := range definitions {
			b.apply(t, read(t, text))
		}
		b.quiet(t)
		return b
	}

	t.Run("AChildBeforeItsParentIsJoined", func(t *testing.T) {
		t.Parallel()
		b := start(t, shop, lines)
		b.Do(t, "INSERT INTO public.lines VALUES (1, 1, 'a')")
		b.quiet(t)
		b.Do(t, "INSERT INTO public.orders VALUES (1, 1, now())")
		b.quiet(t)
		b.Do(t, "INSERT INTO public.customers VALUES (1, 'ann')")
		b.quiet(t)
		b.exact(t, "lines")
		require.Equal(t, []string{"ann a"}, pgtest.Column[string](t, b.DB, "SELECT name || ' ' || item FROM views.lines"))
	})

	t.Run("AStateIsServingOnlyWhenAllRowsAreThere", func(t *testing.T) {
		t.Parallel()
		b := setup(t, stream.ModeTrigger, shop+"; INSERT INTO public.customers SELECT i, 'c' FROM generate_series(1, 20) AS i")
		b.capture(t, stream.ModeTrigger)
		b.apply(t, read(t, lines))
		slow, looks := *b.engine, 0
		slow.Chunk, slow.Pace = 3, pace.Fixed(1)
		slow.Clock = pauses{do: func() {
			looks++
			report, err := b.view(t, "lines").Report(t.Context(), b.DB.DB)
			require.NoError(t, err)
			require.Equal(t, []any{"building", 1}, []any{report.State, report.OpenTasks})
			require.Equal(t, []string{"running true false"}, pgtest.Column[string](t, b.DB, "SELECT state || ' ' || (done > 0) || ' ' || (to_regclass('views.lines') IS NOT NULL) FROM view.task"))
		}}
		_, err := slow.Work(t.Context(), 1)
		require.NoError(t, err)
		require.Positive(t, looks)
		report, err := b.view(t, "lines").Report(t.Context(), b.DB.DB)
		require.NoError(t, err)
		require.Equal(t, []any{"serving", 0}, []any{report.State, report.OpenTasks})
		require.Len(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM views.lines"), 20)
	})

	t.Run("AllColumnsOfAKeyCount", func(t *testing.T) {
		t.Parallel()
		b := start(t, shop, "name: items\ntables: [{table: lines, columns: [{column: order_id, key: true}, {column: line, key: true}, item]}]")
		b.Do(t, "INSERT INTO public.lines VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c'), (2, 2, 'd')")
		b.quiet(t)
		b.Do(t, "UPDATE public.lines SET item = 'x' WHERE order_id = 1 AND line = 2; DELETE FROM public.lines WHERE order_id = 2 AND line = 1")
		b.quiet(t)
		b.exact(t, "items")
		require.Equal(t, []string{"1 1 a", "1 2 x", "2 2 d"}, pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', order_id, line, item) FROM views.items ORDER BY order_id, line"))
	})

	t.Run("AllRowsOfAOneToManyJoinAreThere", func(t *testing.T) {
		t.Parallel()
		b := start(t, shop, lines)
		b.Do(t, "INSERT INTO public.customers VALUES (1, 'ann'), (2, 'bob'); INSERT INTO public.orders VALUES (1, 1, now()), (2, 1, now()); INSERT INTO public.lines VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c')")
		b.quiet(t)
		b.exact(t, "lines")
		require.Equal(t, []string{"ann a", "ann b", "ann c", "bob "}, pgtest.Column[string](t, b.DB, "SELECT name || ' ' || coalesce(item, '') FROM views.lines ORDER BY 1"))
		b.Do(t, "DELETE FROM public.lines WHERE order_id = 1")
		b.quiet(t)
		b.exact(t, "lines")
		require.Equal(t, []string{"ann ", "ann c", "bob "}, pgtest.Column[string](t, b.DB, "SELECT name || ' ' || coalesce(item, '') FROM views.lines ORDER BY 1"))
	})

	t.Run("ABuildThatFailsSaysSo", func(t *testing.T) {
		t.Parallel()
		b := start(t, "CREATE TABLE public.docs (id integer PRIMARY KEY, j jsonb); INSERT INTO public.docs VALUES (1, '{\"n\": \"many\"}')",
			"name: strict\ntables: [{table: docs, columns: [id, {column: j, json: {n: {path: [n], type: integer}}, on_error: error}]}]",
			"name: counted\ntables: [{table: docs, columns: [id, {column: j, json: {n: {path: [n], type: integer}}}]}]")
		require.Equal(t, []string{`failed fill _daymill_1: ERROR: invalid input syntax for type integer: "many" (SQLSTATE 22P02)`},
			pgtest.Column[string](t, b.DB, "SELECT state || ' ' || error FROM view.task WHERE view_id = 1"))
		require.Equal(t, []string{"false"}, pgtest.Column[string](t, b.DB, "SELECT (to_regclass('views.strict') IS NOT NULL)::text"))
		_, err := b.engine.Verify(t.Context(), "counted", false, who)
		require.NoError(t, err)
		b.quiet(t)
		require.Equal(t, []string{"1"}, pgtest.Column[string](t, b.DB, "SELECT misfits::text FROM view.task WHERE kind = 'verify'"))
		b.Do(t, "UPDATE public.docs SET j = '{\"n\": 1}'")
		_, err = b.engine.Rebuild(t.Context(), "strict", who)
		require.NoError(t, err, "a second run works")
		b.quiet(t)
		b.exact(t, "strict")
	})

	t.Run("EmptyTablesDoNotBreakAJoin", func(t *testing.T) {
		t.Parallel()
		b := start(t, shop, lines)
		b.exact(t, "lines")
		b.Do(t, "INSERT INTO public.customers VALUES (1, NULL)")
		b.quiet(t)
		b.exact(t, "lines")
		require.Len(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM views.lines"), 1)
	})

	t.Run("NothingIsInjected", func(t *testing.T) {
		t.Parallel()
		const evil = `a"; DROP TABLE public.victim; --' \ $1 %`
		ident := pgx.Identifier{evil}.Sanitize()
		b := start(t, fmt.Sprintf(`CREATE TABLE public.victim (id integer PRIMARY KEY); CREATE SCHEMA %[1]s; CREATE TABLE %[1]s.%[1]s (%[1]s text PRIMARY KEY, j jsonb);
			INSERT INTO %[1]s.%[1]s VALUES ('k''\"', jsonb_build_object($$%[2]s$$, 'v'))`, ident, evil))
		text := strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(evil)
		b.apply(t, read(t, fmt.Sprintf(`{"name": "%[1]s", "indexes": [["%[1]s"]], "search": {"columns": ["%[1]s", "m"], "name": "s"}, "tables": [
			{"schema": "%[1]s", "table": "%[1]s", "as": "%[1]s", "columns": ["%[1]s", {"column": "%[1]s", "as": "m", "map": {"k'\\\"": "%[1]s"}, "else": "%[1]s"}, {"column": "j", "json": {"j": "%[1]s"}}]},
			{"schema": "%[1]s", "table": "%[1]s", "as": "k", "left": true, "join": {"%[1]s": "%[1]s"}, "columns": [{"column": "%[1]s", "as": "k"}]}]}`, text)))
		b.quiet(t)
		b.Do(t, fmt.Sprintf("UPDATE %[1]s.%[1]s SET %[1]s = %[1]s || 'x'", ident))
		b.quiet(t)
		b.exact(t, evil)
		require.Equal(t, []string{evil, "v"}, []string{pgtest.Column[string](t, b.DB, "SELECT m FROM views."+ident)[0], pgtest.Column[string](t, b.DB, "SELECT j FROM views."+ident)[0]})
		require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT id::text FROM public.victim"), "the table still exists")
	})

	t.Run("PasswordsAreInNoMessage", func(t *testing.T) {
		t.Parallel()
		b := setup(t, stream.ModeTrigger, shop)
		b.engine.Databases.Variables["crm"], b.urls["CRM"] = "$CRM", "postgres://u:hunter2@127.0.0.1:1/db"
		definition := "name: a\ntables: [{database: crm, table: customers, columns: [id]}, {database: nowhere, table: t, join: {id: id}, columns: [x]}]"
		_, err := b.engine.Plan(t.Context(), read(t, definition))
		require.ErrorContains(t, err, "$CRM")
		require.ErrorContains(t, err, `there is no database "nowhere"`)
		require.NotContains(t, err.Error(), "hunter2")
	})

	t.Run("PositionAndRowsAreOneTransaction", func(t *testing.T) {
		t.Parallel()
		b := start(t, shop, lines)
		b.Do(t, `CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no'' USING ERRCODE = ''53100''; END';
			CREATE TRIGGER refuse AFTER INSERT ON views.lines EXECUTE FUNCTION public.refuse()`)
		position := pgtest.Column[string](t, b.DB, "SELECT position::text FROM capture.shard")
		b.Do(t, "INSERT INTO public.customers VALUES (1, 'ann')")
		b.until(t, "SELECT position > $1 FROM capture.stream", position[0])
		require.Panics(t, func() { b.step(t.Context(), &panicking{t}) })
		require.Equal(t, position, pgtest.Column[string](t, b.DB, "SELECT position::text FROM capture.shard"))
		b.Do(t, "DROP TRIGGER refuse ON views.lines; UPDATE capture.shard SET retry_at = NULL")
		b.quiet(t)
		b.exact(t, "lines")
		require.Len(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM views.lines"), 1)
	})

	t.Run("SchemasCount", func(t *testing.T) {
		t.Parallel()
		b := start(t, `CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (id integer PRIMARY KEY, v text); CREATE TABLE b.t (id integer PRIMARY KEY, v text);
			INSERT INTO a.t VALUES (1, 'a'); INSERT INTO b.t VALUES (1, 'b'), (2, 'x')`,
			"name: both\ntables: [{table: a.t, columns: [id, {v: a}]}, {table: b.t, as: u, join: {id: id}, columns: [{v: b}]}]")
		b.Do(t, "UPDATE b.t SET v = 'c' WHERE id = 1")
		b.quiet(t)
		b.exact(t, "both")
		require.Equal(t, []string{"1ac"}, pgtest.Column[string](t, b.DB, "SELECT id || a || b FROM views.both"))
	})
}

// panicking is a test whose failures are expected.
type panicking struct{ testing.TB }

func (*panicking) FailNow()              { panic("it failed") }
func (*panicking) Errorf(string, ...any) {}

// TestExpressions: an expression can use only the columns of its own table.
func TestExpressions(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop)
	for expression, want := range map[string]string{
		"(SELECT name FROM public.customers)": "cannot use subquery", "now()": "is not immutable", "count(*)": "aggregate functions are not allowed",
		"1) STORED, x integer GENERATED ALWAYS AS (2": "closes a parenthesis", "item; DROP TABLE public.lines": "not allowed", "nothing": "does not exist",
		"item -- x": "comments", "'open": "is not closed", "generate_series(1, 2)": "set-returning functions are not allowed", "$1": "not allowed",
	} {
		_, err := b.engine.Plan(t.Context(), read(t, fmt.Sprintf(`{"name": "e", "tables": [{"table": "lines", "columns": [{"expression": %q, "as": "x"}]}]}`, expression)))
		var mistakes document.Mistakes
		require.ErrorAs(t, err, &mistakes, expression)
		require.ErrorContains(t, err, want, expression)
	}
	_, err := b.engine.Plan(t.Context(), read(t, `{"name": "e", "where": "line > 'x'", "tables": [{"table": "lines", "columns": ["item", {"column": "line", "type": "text"}, "lin"]}, {"table": "views.x", "columns": ["a"], "join": {"line": "a"}}]}`))
	require.EqualError(t, err, `test:1:133: database app has no table views.x, or the role may not see it`)
	_, err = b.engine.Plan(t.Context(), read(t, `{"name": "e", "where": "line > 'x'", "tables": [{"table": "lines", "columns": ["item", {"column": "line", "type": "text"}, "lin"]}]}`))
	require.EqualError(t, err, `test:1:24: the where of lines cannot be used: invalid input syntax for type integer: "x"; write an SQL expression whose value depends only on the table's own columns
test:1:88: column line is of type integer, not text
test:1:124: table public.lines has no column "lin": it has order_id, line, item`)
}

// TestManyDependants: a change of a row that many rows depend on becomes a task that refreshes them in chunks. So does a TRUNCATE.
func TestManyDependants(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, `
		CREATE TABLE public.kinds (id integer PRIMARY KEY, name text); INSERT INTO public.kinds VALUES (1, 'a'), (2, 'b');
		CREATE TABLE public.things (id integer PRIMARY KEY, kind integer); CREATE INDEX ON public.things (kind);
		INSERT INTO public.things SELECT i, 1 + i % 2 FROM generate_series(1, 20000) AS i; ANALYZE`)
	b.engine.Most, b.engine.Chunk = 1000, 700
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, "name: things\ntables: [{table: things, columns: [id]}, {table: kinds, join: {kind: id}, columns: [name]}]"))
	b.quiet(t)
	b.exact(t, "things")
	b.Do(t, "UPDATE public.kinds SET name = 'c' WHERE id = 1")
	b.quiet(t)
	b.exact(t, "things")
	require.Equal(t, []string{"done 10000 capture"}, pgtest.Column[string](t, b.DB, "SELECT state || ' ' || done || ' ' || via FROM view.task WHERE kind = 'refresh'"))
	b.Do(t, "TRUNCATE public.kinds")
	b.quiet(t)
	b.exact(t, "things")
	require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT 'x' FROM views.things LIMIT 1"))
}

// TestRefresh: a refresh by key corrects rows that somebody else has changed. It can be requested in SQL, but not by every role.
func TestRefresh(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop+"; INSERT INTO public.customers VALUES (1, 'ann'), (2, 'bob'), (3, 'cat')")
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, lines))
	b.quiet(t)
	b.Do(t, "DELETE FROM views.lines WHERE customer_id = 1; UPDATE views.lines SET name = 'wrong' WHERE customer_id = 2; INSERT INTO views.lines (customer_id) VALUES (7)")
	ids, err := b.engine.Verify(t.Context(), "lines", false, who)
	require.NoError(t, err)
	b.quiet(t)
	task, err := view.GetTask(t.Context(), b.DB.DB, ids[0])
	require.NoError(t, err)
	require.Equal(t, int64(3), task.Differing)
	require.ElementsMatch(t, []string{"1", "2", "7"}, task.Examples)

	_, err = b.engine.Refresh(t.Context(), "lines", [][]string{{"1"}}, who)
	require.NoError(t, err)
	b.Do(t, "SELECT views.refresh('lines', '{2}')")
	b.quiet(t)
	require.Equal(t, []string{"ann", "bob", "cat", ""}, pgtest.Column[string](t, b.DB, "SELECT coalesce(name, '') FROM views.lines ORDER BY customer_id"))
	_, err = b.engine.Verify(t.Context(), "lines", true, who)
	require.NoError(t, err)
	b.quiet(t)
	b.exact(t, "lines")
	b.Do(t, "UPDATE views.lines SET name = 'wrong'")
	_, err = b.engine.Refresh(t.Context(), "lines", nil, who)
	require.NoError(t, err)
	b.quiet(t)
	b.exact(t, "lines")
	require.Equal(t, []string{"false"}, pgtest.Column[string](t, b.DB, "SELECT bool_or(has_function_privilege('public', p.oid, 'EXECUTE'))::text FROM pg_proc AS p WHERE p.pronamespace IN ('views'::regnamespace, 'view'::regnamespace)"))
}

// TestSwap: the old table is served until the new one is complete, and all roles that could read it can read the new one.
func TestSwap(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, shop+"; INSERT INTO public.customers VALUES (1, 'ann'); CREATE ROLE swap_reader")
	t.Cleanup(func() {
		_, err := b.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY swap_reader; DROP ROLE swap_reader")
		require.NoError(t, err)
	})
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, lines))
	b.quiet(t)
	b.Do(t, "GRANT SELECT ON views.lines TO swap_reader; COMMENT ON TABLE views.lines IS 'it''s ours'")
	steps := b.apply(t, read(t, strings.Replace(lines, ", item]", ", {column: item, map: {a: b}}]", 1)))
	require.Equal(t, "changes item; a new table is built in chunks, and then replaces the old one by a rename, which locks both for a moment", steps[0].Why)
	require.Len(t, pgtest.Column[string](t, b.DB, "SELECT coalesce(item, '-') FROM views.lines"), 1, "the old table still serves")
	b.Do(t, "INSERT INTO public.customers VALUES (2, 'bob')")
	b.quiet(t)
	b.exact(t, "lines")
	require.Equal(t, []string{"true it's ours"}, pgtest.Column[string](t, b.DB, "SELECT has_table_privilege('swap_reader', 'views.lines', 'SELECT') || ' ' || obj_description('views.lines'::regclass)"))
	require.Equal(t, []string{"lines"}, pgtest.Column[string](t, b.DB, "SELECT tablename FROM pg_tables WHERE schemaname = 'views'"))
	b.Do(t, "CREATE VIEW public.mine AS SELECT * FROM views.lines")
	_, err := b.engine.Rebuild(t.Context(), "lines", who)
	require.NoError(t, err)
	require.NoError(t, b.engine.Maintain(t.Context()))
	b.step(t.Context(), t)
	require.Equal(t, []string{"true"}, pgtest.Column[string](t, b.DB, "SELECT (error LIKE '%cannot be replaced, because other objects depend on it%mine depends on%')::text FROM view.task WHERE state = 'running'"))
}

// TestVisible: the WAL has a transaction before its rows are visible, until a synchronous standby answers. A view waits for the rows.
func TestVisible(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeWAL, shop)
	b.capture(t, stream.ModeWAL)
	b.apply(t, read(t, lines))
	b.quiet(t)
	b.Do(t, "ALTER SYSTEM SET synchronous_commit = 'local'")
	b.Do(t, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
	b.Do(t, "SELECT pg_reload_conf()")
	b.until(t, "SELECT setting = 'nobody' FROM pg_settings WHERE name = 'synchronous_standby_names'")
	b.until(t, "SELECT current_setting('synchronous_commit') = 'local'")
	conn, err := pgx.Connect(t.Context(), b.URL)
	require.NoError(t, err)
	pid := conn.PgConn().PID()
	committed := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), "SET synchronous_commit = on; INSERT INTO public.customers VALUES (1, 'ann')")
		committed <- err
	}()
	b.until(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 'customers')")
	require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT name FROM public.customers"), "the row is not visible")
	require.Panics(t, func() { b.step(t.Context(), &panicking{t}) }, "the view waits")
	b.Do(t, "SELECT pg_cancel_backend($1)", pid)
	require.NoError(t, <-committed)
	b.Do(t, "UPDATE capture.shard SET retry_at = NULL")
	for b.step(t.Context(), t) {
		continue
	}
	b.exact(t, "lines")
	require.Equal(t, []string{"ann"}, pgtest.Column[string](t, b.DB, "SELECT name FROM views.lines"))
	b.Do(t, "ALTER SYSTEM RESET synchronous_standby_names")
	b.Do(t, "SELECT pg_reload_conf()")
}
