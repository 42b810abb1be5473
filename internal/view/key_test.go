package view_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestKeys: changes in the log may be older than the names, the columns and the types of a key.
func TestKeys(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testKeys(t, mode)
		})
	}
}

func testKeys(t *testing.T, mode string) {
	t.Helper()
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_replication_slots": "50", "max_wal_senders": "50"})
	start := func(t *testing.T, sql, definition string) *testBundle {
		t.Helper()
		b := setupOn(t, pgtest.On(t, server, installed), sql)
		b.capture(t, mode)
		b.apply(t, read(t, definition))
		b.quiet(t)
		b.exact(t, "v")
		return b
	}
	// landed waits until the log has a number of changes of a table.
	landed := func(t *testing.T, b *testBundle, table string, count int) {
		t.Helper()
		b.until(t, "SELECT count(*) >= $2 FROM capture.log WHERE table_name = $1", table, count)
	}
	letters := func(t *testing.T, b *testBundle) []string {
		t.Helper()
		return pgtest.Column[string](t, b.DB, "SELECT kind || ' ' || error FROM view.task WHERE error <> '' UNION ALL SELECT s.error FROM capture.shard AS s WHERE s.error <> ''")
	}
	const moods = `CREATE TYPE public.mood AS ENUM ('sad', 'glad'); CREATE TABLE public.moods (mood public.mood PRIMARY KEY, note text);
		CREATE TABLE public.people (id integer PRIMARY KEY, mood public.mood); CREATE INDEX ON public.people (mood);
		INSERT INTO public.moods VALUES ('glad', 'g'); INSERT INTO public.people VALUES (1, 'sad'), (2, 'glad')`

	for name, definition := range map[string]string{
		"RenamedLabelOfTheRoot":    "name: v\ntables: [{table: moods, columns: [mood, note]}]",
		"RenamedLabelOfAJoinedOne": "name: v\ntables:\n  - {table: people, columns: [id, mood]}\n  - {table: moods, left: true, join: {mood: mood}, columns: [note]}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, moods, definition)
			b.Do(t, "INSERT INTO public.moods VALUES ('sad', 's'); UPDATE public.people SET mood = 'sad' WHERE id = 2")
			landed(t, b, "moods", 1)
			b.Do(t, "ALTER TYPE public.mood RENAME VALUE 'sad' TO 'blue'; UPDATE public.moods SET note = 'b' WHERE mood = 'blue'")
			b.quiet(t)
			b.exact(t, "v")
			require.Empty(t, letters(t, b))
			b.Do(t, "UPDATE public.moods SET note = 'c' WHERE mood = 'blue'")
			b.quiet(t)
			b.exact(t, "v")
			require.Len(t, pgtest.Column[int](t, b.DB, "SELECT id FROM view.task WHERE kind = 'build'"), 2, "all rows are read again once")
		})
	}

	t.Run("RenamedLabelWhileFilling", func(t *testing.T) {
		t.Parallel()
		b := setupOn(t, pgtest.On(t, server, installed), moods)
		b.capture(t, mode)
		b.apply(t, read(t, "name: v\ntables: [{table: moods, columns: [mood, note]}]"))
		b.Do(t, "INSERT INTO public.moods VALUES ('sad', 's'); UPDATE public.moods SET note = 'h' WHERE mood = 'glad'")
		landed(t, b, "moods", 2)
		b.consume(t.Context(), t)
		b.Do(t, "ALTER TYPE public.mood RENAME VALUE 'sad' TO 'blue'")
		b.quiet(t)
		b.exact(t, "v")
		require.Equal(t, []string{"build done", "refresh done", "verify done", "build done"}, pgtest.Column[string](t, b.DB, "SELECT kind || ' ' || state FROM view.task ORDER BY id"))
	})

	t.Run("NarrowerDomain", func(t *testing.T) {
		t.Parallel()
		b := start(t, "CREATE DOMAIN public.code AS integer; CREATE TABLE public.codes (code public.code PRIMARY KEY, note text)", "name: v\ntables: [{table: codes, columns: [code, note]}]")
		b.Do(t, "INSERT INTO public.codes VALUES (1, 'a'), (100, 'b')")
		landed(t, b, "codes", 2)
		b.Do(t, "DELETE FROM public.codes WHERE code = 100; ALTER DOMAIN public.code ADD CHECK (value < 10); UPDATE public.codes SET note = 'c'")
		b.quiet(t)
		b.exact(t, "v")
		require.Empty(t, letters(t, b))
	})

	t.Run("OtherColumn", func(t *testing.T) {
		t.Parallel()
		b := setupOn(t, pgtest.On(t, server, installed), "CREATE TABLE public.pairs (a integer PRIMARY KEY, b integer NOT NULL, note text); INSERT INTO public.pairs VALUES (1, 2, 'x'), (2, 3, 'y')")
		stop := b.capture(t, mode)
		b.apply(t, read(t, "name: v\ntables: [{table: pairs, columns: [a, b, note]}]"))
		b.quiet(t)
		stop()
		b.Do(t, "ALTER TABLE public.pairs DROP CONSTRAINT pairs_pkey, ADD PRIMARY KEY (b)")
		require.NoError(t, b.engine.Maintain(t.Context()))
		for b.step(t.Context(), t) { // It builds a new table.
			continue
		}
		b.exact(t, "v")
		b.Do(t, "UPDATE public.pairs SET note = 'z' WHERE a = 1") // Triggers still write the old key.
		b.capture(t, mode)
		b.quiet(t)
		b.exact(t, "v")
		require.Empty(t, letters(t, b))
	})

	t.Run("Renamed", func(t *testing.T) {
		t.Parallel()
		b := start(t, "CREATE TABLE public.pairs (a integer, b integer, note text, PRIMARY KEY (a, b)); INSERT INTO public.pairs VALUES (1, 2, 'x'), (3, 4, 'y')", "name: v\ntables: [{table: pairs, columns: [a, b, note]}]")
		b.Do(t, "UPDATE public.pairs SET note = 'old' WHERE a = 1; DELETE FROM public.pairs WHERE a = 3")
		landed(t, b, "pairs", 2)
		b.Do(t, "ALTER TABLE public.pairs RENAME a TO c; UPDATE public.pairs SET note = 'new'; INSERT INTO public.pairs VALUES (5, 6, 'z')")
		b.quiet(t)
		b.exact(t, "v")
		require.Empty(t, letters(t, b))
	})

	t.Run("Swapped", func(t *testing.T) {
		t.Parallel()
		b := start(t, "CREATE TABLE public.pairs (a integer, b integer, note text, PRIMARY KEY (a, b)); INSERT INTO public.pairs VALUES (1, 2, 'x'), (3, 4, 'y'), (5, 5, 'z')", "name: v\ntables: [{table: pairs, columns: [a, b, note]}]")
		deliver := b.opened(t, "v", "app") // It does not know the new names.
		b.Do(t, "UPDATE public.pairs SET note = 'old' WHERE a = 1; DELETE FROM public.pairs WHERE a = 3")
		landed(t, b, "pairs", 2)
		b.Do(t, "ALTER TABLE public.pairs RENAME a TO c; ALTER TABLE public.pairs RENAME b TO a; ALTER TABLE public.pairs RENAME c TO b")
		require.NoError(t, b.engine.Maintain(t.Context()))
		b.Do(t, "UPDATE public.pairs SET note = 'new' WHERE b = 5; INSERT INTO public.pairs (b, a, note) VALUES (6, 7, 'z')")
		landed(t, b, "pairs", 4)
		result, err := deliver()
		require.NoError(t, errors.Join(err, result.Err))
		b.quiet(t)
		b.exact(t, "v")
		require.Empty(t, letters(t, b))
	})
}

// TestMirrorRefuses: a mirror refuses a row that is older than the label of an enum, or that has a label which its own type lacks. The changes after it
// reach the view.
func TestMirrorRefuses(t *testing.T) {
	t.Parallel()
	const moods = "CREATE TYPE public.mood AS ENUM ('sad', 'glad')"
	b := setup(t, stream.ModeTrigger, moods)
	b.capture(t, stream.ModeTrigger)
	crm := pgtest.On(t, b.Server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b.sources["crm"] = crm
	b.database("crm", crm)
	crm.Do(t, moods+"; CREATE TABLE public.people (id integer PRIMARY KEY, mood public.mood); INSERT INTO public.people VALUES (1, 'sad'), (2, 'glad')"+marks)
	b.apply(t, read(t, "name: v\ntables: [{database: crm, table: people, columns: [id, mood]}]"))
	b.own(t, stream.ModeTrigger, "crm")
	b.quiet(t)
	landed := func(count int) {
		b.until(t, "SELECT count(*) >= $2 FROM capture.log WHERE table_name = $1", "people", count)
	}
	crm.Do(t, "UPDATE public.people SET mood = 'sad' WHERE id = 2")
	landed(1)
	for _, on := range []*pgtest.DB{b.DB, crm} {
		on.Do(t, "ALTER TYPE public.mood RENAME VALUE 'sad' TO 'blue'")
	}
	crm.Do(t, "INSERT INTO public.people VALUES (3, 'glad')")
	b.quiet(t)
	b.exact(t, "v")
	require.Equal(t, []string{"1 blue", "2 blue", "3 glad"}, pgtest.Column[string](t, b.DB, "SELECT id || ' ' || mood::text FROM views.v ORDER BY id"))

	crm.Do(t, "ALTER TYPE public.mood ADD VALUE 'mad'")
	crm.Do(t, "UPDATE public.people SET mood = 'mad' WHERE id = 1; INSERT INTO public.people VALUES (4, 'glad')")
	landed(4)
	for range 3 {
		b.step(t.Context(), t)
	}
	require.True(t, b.quietly(t, "SELECT EXISTS (SELECT FROM view.task WHERE error LIKE $1)", "%write to the mirror of public.people of database crm: Postgres refuses the row (22P02)%"))
	require.True(t, b.quietly(t, "SELECT EXISTS (SELECT FROM views.v WHERE id = $1)", 4))
	b.Do(t, "ALTER TYPE public.mood ADD VALUE 'mad'")
	_, err := b.engine.Verify(t.Context(), "v", true, who)
	require.NoError(t, err)
	b.quiet(t)
	b.exact(t, "v")
}

// TestRelabeled: labels of an enum that are renamed change values, and the keys of changes in the log, without a change of a row.
func TestRelabeled(t *testing.T) {
	t.Parallel()
	const moods = `CREATE TYPE public.mood AS ENUM ('sad', 'glad'); CREATE TABLE public.people (mood public.mood, n integer, PRIMARY KEY (mood, n), note text);
		INSERT INTO public.people SELECT m, n, '' FROM unnest(ARRAY['sad', 'glad']::public.mood[]) AS m, generate_series(1, 20) AS n`
	b := setup(t, stream.ModeTrigger, moods)
	b.capture(t, stream.ModeTrigger)
	crm := pgtest.On(t, b.Server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b.sources["crm"] = crm
	b.database("crm", crm)
	crm.Do(t, moods+marks)
	const columns = "columns: [n, note, {column: mood, as: word, map: {sad: SAD}, keep: true}]"
	b.apply(t, read(t, "name: here\ntables: [{table: people, "+columns+"}]"))
	b.apply(t, read(t, "name: there\ntables: [{database: crm, table: people, "+columns+"}]"))
	b.own(t, stream.ModeTrigger, "crm")
	b.quiet(t)
	for _, on := range []*pgtest.DB{b.DB, crm} {
		on.Do(t, "UPDATE public.people SET note = 'x' WHERE n < 4 AND mood = 'sad'")
	}
	b.until(t, "SELECT count(*) >= $2 FROM capture.log WHERE table_name = $1", "people", 6)
	for _, on := range []*pgtest.DB{b.DB, crm} {
		on.Do(t, "ALTER TYPE public.mood RENAME VALUE 'sad' TO 'x'; ALTER TYPE public.mood RENAME VALUE 'glad' TO 'sad'; ALTER TYPE public.mood RENAME VALUE 'x' TO 'glad'")
	}
	b.quiet(t)
	for _, name := range []string{"here", "there"} {
		require.NoError(t, b.engine.Follow(t.Context(), b.view(t, name).ID))
	}
	b.quiet(t)
	for _, name := range []string{"here", "there"} {
		b.exact(t, name)
		b.mirrored(t, name)
		require.EqualValues(t, 1, pgtest.Value[int64](t, b.DB, "SELECT count(*) FROM view.task WHERE kind = 'verify' AND view_id = $1", b.view(t, name).ID), "all rows are compared once")
	}
	// A new label changes nothing.
	b.Do(t, "ALTER TYPE public.mood ADD VALUE 'mad'")
	require.NoError(t, b.engine.Follow(t.Context(), b.view(t, "here").ID))
	require.EqualValues(t, 2, pgtest.Value[int64](t, b.DB, "SELECT count(*) FROM view.task WHERE kind = 'verify'"))
}
