package view_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
)

// TestKeyTypes: SQL's character and bit without a length have the length 1, which would cut keys off.
func TestKeyTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, kind, one, two, three string }{
		{"Character", "char(3)", "EUR", "USD", "GBP"},
		{"Bit", "bit(4)", "1010", "1100", "1111"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, stream.ModeTrigger, `CREATE TABLE public.currencies (code `+c.kind+` PRIMARY KEY, name text); INSERT INTO public.currencies VALUES ('`+c.one+`', 'one'), ('`+c.two+`', 'two');
				CREATE TABLE public.orders (id integer PRIMARY KEY, currency `+c.kind+`); CREATE INDEX ON public.orders (currency);
				INSERT INTO public.orders VALUES (1, '`+c.one+`'), (2, '`+c.two+`'), (3, '`+c.three+`')`)
			b.capture(t, stream.ModeTrigger)
			b.apply(t, read(t, "name: roots\ntables: [{table: currencies, columns: [code, name]}]"))
			b.apply(t, read(t, "name: joined\ntables:\n  - {table: orders, columns: [id]}\n  - {table: currencies, left: true, join: {currency: code}, columns: [name]}"))
			b.engine.Chunk = 1
			b.quiet(t)
			b.Do(t, "UPDATE public.currencies SET name = 'changed' WHERE code = '"+c.one+"'; INSERT INTO public.currencies VALUES ('"+c.three+"', 'three')")
			b.quiet(t)
			b.exact(t, "roots")
			b.exact(t, "joined")

			b.Do(t, "UPDATE views.roots SET name = 'wrong' WHERE code = '"+c.one+"'")
			ids, err := b.engine.Verify(t.Context(), "roots", true, who)
			require.NoError(t, err)
			b.quiet(t)
			task, err := view.GetTask(t.Context(), b.DB.DB, ids[0])
			require.NoError(t, err)
			require.Equal(t, []int64{1, 1}, []int64{task.Differing, task.Repaired})
			b.exact(t, "roots")
		})
	}
}

// TestMirrorCollation: the key of a mirrored root has the same order in the mirror and in the view's table, whatever its collation is in the other database.
func TestMirrorCollation(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, "CREATE TABLE public.other (id integer PRIMARY KEY)")
	b.capture(t, stream.ModeTrigger)
	crm := pgtest.On(t, b.Server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b.sources["crm"] = crm
	b.database("crm", crm)
	_, err := crm.Exec(t.Context(), `CREATE TABLE public.codes (id text COLLATE "C" PRIMARY KEY, n integer);
		INSERT INTO public.codes SELECT 'b' || i, i FROM generate_series(1, 5) AS i UNION ALL SELECT 'Z' || i, i FROM generate_series(1, 1000) AS i`+marks)
	require.NoError(t, err)
	b.engine.Chunk = 7
	b.apply(t, read(t, "name: x\ntables: [{database: crm, table: codes, columns: [id, n]}]"))
	b.own(t, stream.ModeTrigger, "crm")
	b.quiet(t)
	b.exact(t, "x")
	_, err = b.engine.Refresh(t.Context(), "x", nil, who)
	require.NoError(t, err)
	b.quiet(t)
	b.exact(t, "x")
}

// TestNames: columns may have any name that statements and triggers use themselves.
func TestNames(t *testing.T) {
	t.Parallel()
	names := strings.Fields("t o n a b e k c x r s v d m p key old new number place row keys source view")
	create := "CREATE TABLE public.named (id integer PRIMARY KEY, " + strings.Join(quoted(names), " integer, ") + " integer)"
	b := setup(t, stream.ModeTrigger, create)
	b.capture(t, stream.ModeTrigger)
	crm := pgtest.On(t, b.Server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b.sources["crm"] = crm
	b.database("crm", crm)
	crm.Do(t, create+"; INSERT INTO public.named (id, x, t) VALUES (1, 2, 3), (2, 3, 4)"+marks)
	columns := ", columns: [id, " + strings.Join(names, ", ") + "]}]"
	b.apply(t, read(t, "name: here\ntables: [{table: named"+columns))
	b.apply(t, read(t, "name: there\ntables: [{database: crm, table: named"+columns))
	b.own(t, stream.ModeTrigger, "crm")
	b.quiet(t)
	for _, on := range []*pgtest.DB{b.DB, crm} {
		on.Do(t, "INSERT INTO public.named (id, x) VALUES (3, 1), (4, 1); UPDATE public.named SET t = 7, x = 8, r = 9 WHERE id IN (1, 3); DELETE FROM public.named WHERE id = 4; UPDATE public.named SET id = 5 WHERE id = 3")
	}
	b.quiet(t)
	for _, name := range []string{"here", "there"} {
		b.exact(t, name)
		require.Equal(t, []string{"5 8 7"}, pgtest.Column[string](t, b.DB, "SELECT format('%s %s %s', id, x, t) FROM views."+name+" WHERE id = 5"))
		_, err := b.engine.Verify(t.Context(), name, false, who)
		require.NoError(t, err)
	}
	b.quiet(t)
	require.Empty(t, pgtest.Column[int64](t, b.DB, "SELECT differing FROM view.task WHERE kind = 'verify' AND (differing > 0 OR state <> 'done')"))
	require.Empty(t, pgtest.Column[int64](t, b.DB, "SELECT id FROM capture.gap"))
}

func quoted(names []string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = pgx.Identifier{name}.Sanitize()
	}
	return list
}

// TestRefusedTables: tables whose changes do not say what a view needs are refused, with a sentence.
func TestRefusedTables(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeTrigger, `CREATE COLLATION public.folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE TABLE public.parent (id integer PRIMARY KEY); CREATE TABLE public.child (PRIMARY KEY (id)) INHERITS (public.parent);
		CREATE TABLE public.arrays (id integer[] PRIMARY KEY); CREATE TABLE public.folded (id text COLLATE public.folding PRIMARY KEY)`)
	crm := pgtest.On(t, b.Server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b.sources["crm"] = crm
	b.database("crm", crm)
	_, err := crm.Exec(t.Context(), "CREATE TABLE public.sums (id integer PRIMARY KEY, n integer, twice integer GENERATED ALWAYS AS (n * 2) STORED)")
	require.NoError(t, err)
	for table, want := range map[string]string{
		"{table: parent, columns: [id]}":                                     "other tables inherit from parent",
		"{table: arrays, columns: [id]}":                                     "a key cannot have an array",
		"{table: folded, columns: [id]}":                                     "a key needs a deterministic collation",
		"{database: crm, table: sums, columns: [id, twice]}":                 "column twice of sums is generated",
		"{table: child, columns: [{id: ctid}]}":                              `every table has a system column "ctid"`,
		"{table: child, as: " + strings.Repeat("a", 64) + ", columns: [id]}": "is longer than the 63 bytes",
	} {
		parsed, err := definition.Parse("test", []byte("name: x\ntables: ["+table+"]"))
		if err == nil {
			_, err = b.engine.Plan(t.Context(), parsed)
		}
		require.ErrorContains(t, err, want)
	}
	_, err = definition.Parse("test", []byte("name: _daymill_1\ntables: [{table: child, columns: [id]}]"))
	require.ErrorContains(t, err, "names that begin with _daymill_ are reserved: give the view another name")
	_, err = b.engine.Plan(t.Context(), read(t, "name: x\nschedule: {every: 1m}\ntables: [{database: crm, table: sums, columns: [id, twice]}]"))
	require.NoError(t, err, "rows that are read have all values")
}

// TestDriftOfNames: a view follows its columns, also if another column has the name by now.
func TestDriftOfNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, sql, want string }{
		{"Replaced", "ALTER TABLE public.a RENAME price TO price_old; ALTER TABLE public.a RENAME net TO price", "10 20 30"},
		{"Swapped", "ALTER TABLE public.a RENAME price TO other; ALTER TABLE public.a RENAME net TO price; ALTER TABLE public.a RENAME other TO net", "10 20 30"},
		{"DroppedAndReplaced", "ALTER TABLE public.a DROP price; ALTER TABLE public.a RENAME net TO price", "10 - 30"},
		{"JoinSwapped", "ALTER TABLE public.a RENAME b_id TO other; ALTER TABLE public.a RENAME net TO b_id; ALTER TABLE public.a RENAME other TO net", "10 20 30"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, stream.ModeTrigger, `CREATE TABLE public.b (id integer PRIMARY KEY, size integer); INSERT INTO public.b VALUES (3, 30), (10, 0);
				CREATE TABLE public.a (id integer PRIMARY KEY, net integer, price integer, b_id integer); INSERT INTO public.a VALUES (1, 10, 20, 3)`)
			b.capture(t, stream.ModeTrigger)
			b.apply(t, read(t, "name: x\ntables:\n  - {table: a, columns: [id, net, price]}\n  - {table: b, left: true, join: {b_id: id}, columns: [size]}"))
			b.quiet(t)
			b.Do(t, "BEGIN; "+c.sql+"; COMMIT")
			b.Do(t, "UPDATE public.a SET id = 1")
			b.quiet(t)
			require.NoError(t, b.engine.Maintain(t.Context()))
			b.quiet(t)
			b.exact(t, "x")
			require.Equal(t, []string{c.want}, pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', net, coalesce(price::text, '-'), size) FROM views.x"))
		})
	}
}
