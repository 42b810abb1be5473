package view_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view/definition"
)

// TestRefusedKinds: what is not a table, or a table whose changes cannot be captured, is refused with a sentence that says what it is. So are joins that Postgres
// cannot make.
func TestRefusedKinds(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, `CREATE EXTENSION citext; CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
		CREATE TABLE public.a (id integer PRIMARY KEY, name text, code citext, parent text, german text COLLATE "de-x-icu", swedish text COLLATE "sv-x-icu", j jsonb);
		CREATE VIEW public.v AS TABLE public.a; CREATE MATERIALIZED VIEW public.m AS TABLE public.a; CREATE FOREIGN TABLE public.f (id integer) SERVER files OPTIONS (filename '/dev/null');
		CREATE SEQUENCE public.s; CREATE TYPE public.c AS (id integer); CREATE INDEX i ON public.a (id);
		CREATE UNLOGGED TABLE public.u (id integer PRIMARY KEY); CREATE TABLE public.nothing (id integer PRIMARY KEY); ALTER TABLE public.nothing REPLICA IDENTITY NOTHING;
		CREATE TABLE public.p (id integer PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (0) TO (10)`)
	crm := pgtest.On(t, b.Server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b.database("crm", crm)
	_, err := crm.Exec(t.Context(), "CREATE EXTENSION citext; CREATE TABLE public.plain (id integer PRIMARY KEY); CREATE TABLE public.codes (code citext PRIMARY KEY, label text); CREATE UNLOGGED TABLE public.u (id integer PRIMARY KEY)")
	require.NoError(t, err)
	plan := func(tables string) error {
		parsed, err := definition.Parse("test", []byte("name: x\n"+tables))
		require.NoError(t, err)
		_, err = b.engine.Plan(t.Context(), parsed)
		return err
	}
	for table, want := range map[string]string{
		"c":                "public.c is a composite type: name a table",
		"f":                "public.f is a foreign table: add the database that has its rows to databases in daymill.yaml, and name the table there",
		"i":                "public.i is an index: name a table",
		"m":                "public.m is a materialized view: name the tables that it reads",
		"nothing":          "changes of public.nothing cannot be captured: its replica identity is NOTHING",
		"p1":               "public.p1 is a partition of public.p: name that table",
		"s":                "public.s is a sequence: name a table",
		"u":                `changes of public.u cannot be captured: it is unlogged: ALTER TABLE "public"."u" SET LOGGED`,
		"v":                "public.v is a view: name the tables that it reads",
		"view.task":        "changes of view.task are not captured, because it belongs to Daymill or River: name a table of your application",
		"u, database: crm": `changes of public.u cannot be captured: it is unlogged`,
	} {
		require.ErrorContains(t, plan("tables: [{table: "+table+", columns: [id]}]"), "test:2:10: "+want, table)
	}
	require.NoError(t, plan("tables: [{table: p, columns: [id]}]"))
	require.NoError(t, plan("schedule: {every: 1m}\ntables: [{table: u, columns: [id]}]"), "reading needs no WAL")
	require.NoError(t, plan("schedule: {every: 1m}\ntables: [{table: p1, columns: [id]}]"))

	const join = "tables:\n  - {table: a, columns: [id]}\n  - {table: a, as: other, join: {name: code}, columns: [parent]}"
	require.ErrorContains(t, plan(join), "the join compares name (text) with code (public.citext), which Postgres cannot compare")
	require.ErrorContains(t, plan("tables:\n  - {table: a, columns: [id]}\n  - {database: crm, table: codes, join: {name: code}, columns: [label]}"), "test:4:41: the join compares name (text) with code (public.citext), which Postgres cannot compare")
	require.NoError(t, plan("tables:\n  - {table: a, columns: [id]}\n  - {database: crm, table: codes, join: {code: code}, columns: [label]}"))
	require.NoError(t, plan("tables:\n  - {table: a, columns: [id]}\n  - {table: a, as: other, join: {code: name}, columns: [parent]}"))
	require.ErrorContains(t, plan("tables:\n  - {table: a, columns: [id]}\n  - {table: a, as: other, join: {german: swedish}, columns: [parent]}"),
		`the join compares german (text COLLATE pg_catalog."de-x-icu") with swedish (text COLLATE pg_catalog."sv-x-icu"), which Postgres cannot compare`)
	require.NoError(t, plan("tables:\n  - {table: a, columns: [id]}\n  - {table: a, as: other, join: {german: name}, columns: [parent]}"))
	require.ErrorContains(t, plan("tables: [{table: a, columns: [id, {column: j, json: {x: {path: [x], type: record}}}]}]"), `test:2:35: there is no type "record": write it as Postgres does`)
	require.EqualError(t, plan("tables: [{database: crm, table: plain, columns: [{expression: \"tableoid::text\", as: x}]}]"),
		`test:1:1: Postgres refuses the SELECT of the view (column "tableoid" does not exist): change the definition`, "it would be that of the copy")
	_, err = definition.Parse("test", []byte("name: x\ntables: [{table: a, as: _daymill_keys, columns: [id]}]"))
	require.ErrorContains(t, err, `test:2:10: Daymill uses the name "_daymill_keys" itself: give the table another name in the view with "as"`)
	require.NoError(t, func() error {
		_, err := definition.Parse("test", []byte("name: x\ntables: [{table: _daymill_keys, as: keys, columns: [id]}]"))
		return err
	}())
}

// TestReservedColumns: columns of tables may have the names that Daymill gives to columns of its own.
func TestReservedColumns(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, `CREATE TABLE public.a (id integer PRIMARY KEY, _daymill_expression_1 integer, _daymill_b_id integer, b_id integer);
		CREATE TABLE public.b (id integer PRIMARY KEY, _daymill_expression_1 integer, _daymill_position integer, k1 integer, r1 integer);
		INSERT INTO public.a VALUES (1, 10, 20, 3); INSERT INTO public.b VALUES (3, 30, 40, 50, 60)`)
	b.capture(t, stream.ModeTrigger)
	crm := pgtest.On(t, b.Server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b.sources["crm"] = crm
	b.database("crm", crm)
	_, err := crm.Exec(t.Context(), `CREATE TABLE public.b (id integer PRIMARY KEY, _daymill_expression_1 integer, _daymill_position integer); CREATE TABLE public.c (id integer PRIMARY KEY, _daymill_expression_1 integer);
		INSERT INTO public.c VALUES (3, 300)`+marks)
	require.NoError(t, err)
	b.apply(t, read(t, `
name: x
tables:
  - {table: a, columns: [id, {expression: _daymill_expression_1 + 1, as: one}, {_daymill_b_id: two}, {_daymill_expression_1: three}]}
  - {table: b, left: true, join: {b_id: id}, columns: [{_daymill_expression_1: four}, {expression: _daymill_expression_1 * 2, as: five}, k1, r1]}`))
	b.apply(t, read(t, `
name: y
tables:
  - {table: a, columns: [id]}
  - {database: crm, table: c, left: true, join: {b_id: id}, columns: [{_daymill_expression_1: four}, {expression: _daymill_expression_1 * 2, as: five}]}`))
	_, err = b.engine.Plan(t.Context(), read(t, "name: z\ntables: [{database: crm, table: b, columns: [id, {_daymill_position: p}]}]"))
	require.EqualError(t, err, "test:2:10: the copy of b has a column _daymill_position of its own: rename the column of the table, or leave it out")
	b.own(t, stream.ModeTrigger, "crm")
	b.quiet(t)
	b.Do(t, "UPDATE public.b SET _daymill_expression_1 = 31; UPDATE public.a SET _daymill_expression_1 = 11")
	_, err = crm.Exec(t.Context(), "UPDATE public.c SET _daymill_expression_1 = 301")
	require.NoError(t, err)
	b.quiet(t)
	b.exact(t, "x")
	b.exact(t, "y")
	require.Equal(t, []string{"12 20 11 31 62 50 60"}, pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', one, two, three, four, five, k1, r1) FROM views.x"))
	require.Equal(t, []string{"301 602"}, pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', four, five) FROM views.y"))
}
