package view_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestDriftMirrored: the view and the mirror also follow drift of a table in another database.
func TestDriftMirrored(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testDriftMirrored(t, mode)
		})
	}
}

func testDriftMirrored(t *testing.T, mode string) {
	t.Helper()
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_replication_slots": "50", "max_wal_senders": "50"})
	start := func(t *testing.T) (*testBundle, func(sql string)) {
		t.Helper()
		b := setupOn(t, pgtest.On(t, server, installed), `
			CREATE TABLE public.people (id integer PRIMARY KEY, name text, team_id integer); CREATE INDEX ON public.people (team_id);
			INSERT INTO public.people VALUES (1, 'ann', 1), (2, 'bob', 2), (3, 'cat', NULL)`)
		b.sources["crm"] = pgtest.On(t, server, installed)
		b.database("crm", b.sources["crm"])
		crm := func(sql string) {
			_, err := b.sources["crm"].Exec(t.Context(), sql)
			require.NoError(t, err, sql)
		}
		crm(`CREATE TABLE public.teams (id integer PRIMARY KEY, title varchar(20), size smallint); INSERT INTO public.teams VALUES (1, 'red', 3), (2, 'blue', 4)` + marks)
		b.capture(t, mode)
		b.apply(t, read(t, `
name: staff
tables:
  - {table: people, columns: [id, name]}
  - {database: crm, table: teams, left: true, join: {team_id: id}, columns: [{title: team}, size]}`))
		b.own(t, mode, "crm")
		b.quiet(t)
		b.exact(t, "staff")
		return b, crm
	}
	staff := func(t *testing.T, b *testBundle) []string {
		t.Helper()
		b.quiet(t)
		b.exact(t, "staff")
		return pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', name, coalesce(team::text, '-'), coalesce(size::text, '-')) FROM views.staff ORDER BY id")
	}

	t.Run("Added", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t)
		crm("ALTER TABLE public.teams ADD COLUMN motto text DEFAULT 'go'; UPDATE public.teams SET size = 5 WHERE id = 1")
		require.Equal(t, []string{"ann red 5", "bob blue 4", "cat - -"}, staff(t, b))
		require.Equal(t, []string{"added open: table teams has a new column motto of type text"}, b.drift(t))
		_, err := b.engine.Decide(t.Context(), "staff", true, nil, who)
		require.NoError(t, err)
		crm("UPDATE public.teams SET motto = 'stay' WHERE id = 2")
		staff(t, b)
		require.Equal(t, []string{"go", "stay"}, pgtest.Column[string](t, b.DB, "SELECT motto FROM views.staff WHERE id < 3 ORDER BY id"))
	})

	t.Run("AddedOfATypeThatTheTargetLacks", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t)
		crm("CREATE TYPE public.mood AS ENUM ('glad'); ALTER TABLE public.teams ADD COLUMN mood public.mood DEFAULT 'glad'; UPDATE public.teams SET size = 5 WHERE id = 1")
		require.Equal(t, []string{"ann red 5", "bob blue 4", "cat - -"}, staff(t, b))
		_, err := b.engine.Decide(t.Context(), "staff", true, nil, who)
		require.EqualError(t, err, "column mood of teams is of type public.mood, which the database of the view does not have: create the type there, or leave the column out")
		crm("UPDATE public.teams SET size = 6 WHERE id = 1")
		require.Equal(t, []string{"ann red 6", "bob blue 4", "cat - -"}, staff(t, b), "the view continues")
		b.Do(t, "CREATE TYPE public.mood AS ENUM ('glad')")
		_, err = b.engine.Decide(t.Context(), "staff", true, nil, who)
		require.NoError(t, err)
		staff(t, b)
		require.Equal(t, []string{"glad"}, pgtest.Column[string](t, b.DB, "SELECT DISTINCT mood::text FROM views.staff WHERE id < 3"))
	})

	t.Run("Dropped", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t)
		crm("ALTER TABLE public.teams DROP COLUMN title; UPDATE public.teams SET size = 5 WHERE id = 1")
		require.Equal(t, []string{"ann - 5", "bob - 4", "cat - -"}, staff(t, b))
		require.Equal(t, []string{"dropped followed: column title of teams was dropped"}, b.drift(t))
	})

	t.Run("Renamed", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t)
		crm("UPDATE public.teams SET title = 'green' WHERE id = 1; ALTER TABLE public.teams RENAME COLUMN title TO label; UPDATE public.teams SET label = 'grey' WHERE id = 2")
		require.Equal(t, []string{"ann green 3", "bob grey 4", "cat - -"}, staff(t, b))
		crm("UPDATE public.teams SET label = 'gold' WHERE id = 2")
		require.Equal(t, []string{"ann green 3", "bob gold 4", "cat - -"}, staff(t, b))
		require.Equal(t, []string{"renamed followed: column title of teams is now called label"}, b.drift(t))
	})

	t.Run("RetypedLossless", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t)
		crm("ALTER TABLE public.teams ALTER size TYPE bigint; UPDATE public.teams SET size = 5000000000 WHERE id = 1")
		require.Equal(t, []string{"ann red 5000000000", "bob blue 4", "cat - -"}, staff(t, b))
		require.Nil(t, b.view(t, "staff").PausedAt)
	})

	t.Run("RetypedWithLoss", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t)
		crm("ALTER TABLE public.teams ALTER title TYPE integer USING 7")
		require.NoError(t, b.engine.Maintain(t.Context()))
		require.Equal(t, "column title of teams now has type integer, and had character varying(20): accept to build a table with the new type", b.view(t, "staff").PausedBecause)
		report, err := b.view(t, "staff").Report(t.Context(), b.DB.DB)
		require.NoError(t, err)
		require.Equal(t, []any{"paused", 1}, []any{report.State, report.OpenDrift})
		require.Equal(t, []string{"red"}, pgtest.Column[string](t, b.DB, "SELECT team::text FROM views.staff WHERE id = 1"), "the table does not change")
		_, err = b.engine.Decide(t.Context(), "staff", true, nil, who)
		require.NoError(t, err)
		crm("UPDATE public.teams SET title = 8 WHERE id = 2")
		require.Equal(t, []string{"ann 7 3", "bob 8 4", "cat - -"}, staff(t, b))
	})

	t.Run("TableRenamed", func(t *testing.T) {
		t.Parallel()
		b, crm := start(t)
		crm("UPDATE public.teams SET title = 'green' WHERE id = 1; ALTER TABLE public.teams RENAME TO groups; UPDATE public.groups SET title = 'grey' WHERE id = 2")
		require.Equal(t, []string{"ann green 3", "bob grey 4", "cat - -"}, staff(t, b))
		require.Equal(t, []string{"table_renamed followed: table public.teams is now called public.groups"}, b.drift(t))
	})
}

// TestDriftMirrored_Waiting: columns of a table in another database swap their names while nobody reads its changes. The new copy has none of the changes
// that are older than it and have the old names.
func TestDriftMirrored_Waiting(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
			server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
			b := setupOn(t, pgtest.On(t, server, installed), "SELECT 1")
			crm := pgtest.On(t, server, installed)
			b.sources["crm"] = crm
			b.database("crm", crm)
			crm.Do(t, "CREATE TABLE public.pairs (id integer PRIMARY KEY, a integer, b integer); INSERT INTO public.pairs VALUES (1, 1, 2), (2, 3, 4)"+marks)
			b.capture(t, mode)
			b.apply(t, read(t, "name: v\ntables: [{database: crm, table: pairs, columns: [id, a, b]}]"))
			stop := b.own(t, mode, "crm")
			b.quiet(t)
			b.exact(t, "v")
			stop()
			crm.Do(t, "UPDATE public.pairs SET b = 5 WHERE id = 1; INSERT INTO public.pairs VALUES (3, 6, 7)")
			crm.Do(t, "ALTER TABLE public.pairs RENAME a TO c; ALTER TABLE public.pairs RENAME b TO a; ALTER TABLE public.pairs RENAME c TO b")
			require.NoError(t, b.engine.Maintain(t.Context()))
			_, err := b.engine.Work(t.Context(), 2)
			require.NoError(t, err)
			require.Equal(t, []string{"it waits until the log has the changes of database crm"}, pgtest.Column[string](t, b.DB, "SELECT error FROM view.task WHERE id = 2"))
			b.own(t, mode, "crm")
			b.Do(t, "UPDATE view.task SET retry_at = NULL")
			b.quiet(t)
			b.mirrored(t, "v")
			b.exact(t, "v")
		})
	}
}
