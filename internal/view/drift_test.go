package view_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
)

const people = `
	CREATE TABLE public.teams (id integer PRIMARY KEY, title varchar(20), size smallint);
	CREATE TABLE public.people (id integer PRIMARY KEY, name text, age integer NOT NULL, team_id integer, unused text);
	CREATE INDEX ON public.people (team_id);
	INSERT INTO public.teams VALUES (1, 'red', 3), (2, 'blue', 4);
	INSERT INTO public.people VALUES (1, 'ann', 30, 1, 'u'), (2, 'bob', 40, 2, 'u'), (3, 'cat', 50, NULL, 'u')`

const peopleView = `
name: staff
tables:
  - {table: people, columns: [id, name, {column: age, nullable: false}]}
  - {table: teams, left: true, join: {team_id: id}, columns: [{title: team}, size]}`

func (b *testBundle) drift(t *testing.T) []string {
	t.Helper()
	return pgtest.Column[string](t, b.DB, "SELECT kind || ' ' || state || ': ' || sentence FROM view.drift ORDER BY id")
}

// TestDrift: a view follows drift if nothing is lost, while changes continue. Otherwise it says what it needs.
func TestDrift(t *testing.T) {
	t.Parallel()
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_replication_slots": "50", "max_wal_senders": "50"})
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testDrift(t, func(t *testing.T) *testBundle {
				t.Helper()
				b := setupOn(t, pgtest.On(t, server, installed), people)
				b.capture(t, mode)
				return b
			})
		})
	}
}

func testDrift(t *testing.T, setup func(t *testing.T) *testBundle) {
	t.Helper()
	start := func(t *testing.T, definition string) *testBundle {
		t.Helper()
		b := setup(t)
		b.apply(t, read(t, definition))
		b.quiet(t)
		b.exact(t, "staff")
		return b
	}
	change := func(t *testing.T, b *testBundle) {
		t.Helper()
		b.Do(t, "UPDATE public.people SET team_id = 2 WHERE id = 1; DELETE FROM public.people WHERE id = 2; INSERT INTO public.people (id, age) VALUES (9, 9)")
		b.quiet(t)
		b.exact(t, "staff")
	}

	t.Run("Added", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView)
		b.Do(t, "ALTER TABLE public.teams ADD COLUMN motto text DEFAULT 'go'")
		change(t, b)
		require.Equal(t, []string{"added open: table teams has a new column motto of type text"}, b.drift(t))
		require.Nil(t, b.view(t, "staff").PausedAt)
		count, err := b.engine.Decide(t.Context(), "staff", true, nil, who)
		require.NoError(t, err)
		require.Equal(t, 1, count)
		b.quiet(t)
		b.exact(t, "staff")
		require.Equal(t, []string{"go"}, pgtest.Column[string](t, b.DB, "SELECT motto FROM views.staff WHERE id = 1"))
	})

	t.Run("Asks", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView+"\ndrift: ask")
		b.Do(t, "ALTER TABLE public.people RENAME COLUMN name TO full_name")
		require.NoError(t, b.engine.Maintain(t.Context()))
		require.Equal(t, []string{"renamed open: column name of people is now called full_name"}, b.drift(t))
		require.Equal(t, "column name of people is now called full_name", b.view(t, "staff").PausedBecause)
		require.NoError(t, b.engine.Maintain(t.Context()))
		require.Len(t, b.drift(t), 1, "it is reported once")

		// Until it is accepted, the view cannot continue, and says so.
		resume := func() error {
			return b.Tx(t.Context(), func(tx pgx.Tx) error { return view.Resume(t.Context(), tx, b.view(t, "staff"), who) })
		}
		refusal := "view staff cannot continue, because its tables have changed (column name of people is now called full_name): run `daymill view drift accept staff`, or apply a changed definition"
		require.EqualError(t, resume(), refusal)
		count, err := b.engine.Decide(t.Context(), "staff", false, nil, who)
		require.NoError(t, err)
		require.Equal(t, 1, count)
		require.EqualError(t, resume(), refusal)
		count, err = b.engine.Decide(t.Context(), "staff", true, nil, who)
		require.NoError(t, err)
		require.Equal(t, 1, count, "what was rejected can be accepted")
		change(t, b)
	})

	t.Run("Dropped", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView)
		b.Do(t, "ALTER TABLE public.people DROP COLUMN name, DROP COLUMN unused")
		change(t, b)
		require.Equal(t, []string{"dropped followed: column name of people was dropped"}, b.drift(t))
		require.Equal(t, []string{"-", "-", "-"}, pgtest.Column[string](t, b.DB, "SELECT coalesce(name, '-') FROM views.staff"))
	})

	t.Run("DroppedAndNeeded", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView)
		b.Do(t, "ALTER TABLE public.people DROP COLUMN team_id")
		require.NoError(t, b.engine.Maintain(t.Context()))
		require.Equal(t, "column team_id of people was dropped, and the view cannot be computed without it: change the definition", b.view(t, "staff").PausedBecause)
		require.Len(t, pgtest.Column[string](t, b.DB, "SELECT name FROM views.staff"), 3, "the table does not change")

		b.apply(t, read(t, "name: staff\ntables: [{table: people, columns: [id, name]}]"))
		require.Nil(t, b.view(t, "staff").PausedAt, "another definition is what it waited for")
		b.quiet(t)
		b.exact(t, "staff")
		require.Nil(t, b.view(t, "staff").PausedAt)
		require.Equal(t, []string{"dropped accepted: column team_id of people was dropped, and the view cannot be computed without it: change the definition"}, b.drift(t))
	})

	t.Run("KeyChanged", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView)
		b.Do(t, "ALTER TABLE public.people DROP CONSTRAINT people_pkey, ADD PRIMARY KEY (age, id)")
		require.NoError(t, b.engine.Maintain(t.Context()))
		change(t, b)
		require.Equal(t, []string{"key followed: the key of table people is now (age, id), and was (id)"}, b.drift(t))
	})

	t.Run("Renamed", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView)
		b.Do(t, `ALTER TABLE public.people RENAME COLUMN name TO "Full ""Name"; ALTER TABLE public.people RENAME COLUMN team_id TO team; ALTER TABLE public.people RENAME COLUMN id TO nr`)
		b.Do(t, "INSERT INTO public.people VALUES (4, 'dan', 1, 1)")
		b.quiet(t)
		b.exact(t, "staff")
		require.Equal(t, []string{"ann red", "bob blue", "cat ", "dan red"}, pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', name, coalesce(team, '')) FROM views.staff ORDER BY id"))
		require.Len(t, b.drift(t), 3)
	})

	t.Run("RetypedLossless", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView)
		b.Do(t, "ALTER TABLE public.people ALTER age TYPE bigint; ALTER TABLE public.teams ALTER title TYPE text")
		b.Do(t, "UPDATE public.people SET age = 5000000000 WHERE id = 1")
		require.NoError(t, b.engine.Maintain(t.Context()))
		change(t, b)
		require.Equal(t, []string{"bigint", "text"}, pgtest.Column[string](t, b.DB, "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'views.staff'::regclass AND attname IN ('age', 'team') ORDER BY 1"))
		require.Equal(t, []string{"5000000000"}, pgtest.Column[string](t, b.DB, "SELECT age::text FROM views.staff WHERE id = 1"))
	})

	t.Run("RetypedWithLoss", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView)
		b.Do(t, "ALTER TABLE public.people ALTER name TYPE integer USING 7")
		require.NoError(t, b.engine.Maintain(t.Context()))
		require.Equal(t, "column name of people now has type integer, and had text: accept to build a table with the new type", b.view(t, "staff").PausedBecause)
		_, err := b.engine.Decide(t.Context(), "staff", true, nil, who)
		require.NoError(t, err)
		change(t, b)
	})

	t.Run("TableDropped", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView)
		b.Do(t, "DROP TABLE public.teams")
		require.NoError(t, b.engine.Maintain(t.Context()))
		require.Equal(t, "table public.teams was dropped: create it again and accept, or change the definition", b.view(t, "staff").PausedBecause)
		b.Do(t, "CREATE TABLE public.teams (id integer PRIMARY KEY, title text, size smallint); INSERT INTO public.teams VALUES (1, 'new', 1)")
		b.until(t, "SELECT count(*) = 1 FROM capture.captured WHERE table_name = 'teams' AND oid = 'public.teams'::regclass::oid::bigint AND reason = ''")
		_, err := b.engine.Decide(t.Context(), "staff", true, nil, who)
		require.NoError(t, err)
		change(t, b)
	})

	t.Run("TableDroppedWhileRebuilt", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView)
		_, err := b.engine.Rebuild(t.Context(), "staff", who)
		require.NoError(t, err)
		b.Do(t, "DROP TABLE public.teams")
		require.NoError(t, b.engine.Maintain(t.Context()))
		b.Do(t, "CREATE TABLE public.teams (id integer PRIMARY KEY, title text, size smallint); INSERT INTO public.teams VALUES (1, 'new', 1)")
		b.until(t, "SELECT count(*) = 1 FROM capture.captured WHERE table_name = 'teams' AND oid = 'public.teams'::regclass::oid::bigint AND reason = ''")
		_, err = b.engine.Decide(t.Context(), "staff", true, nil, who)
		require.NoError(t, err)
		require.NoError(t, b.engine.Follow(t.Context(), b.view(t, "staff").ID))
		require.Nil(t, b.view(t, "staff").PausedAt)
		change(t, b)
	})

	t.Run("TableRenamed", func(t *testing.T) {
		t.Parallel()
		b := start(t, peopleView)
		b.Do(t, "INSERT INTO public.people VALUES (5, 'eve', 5, 1); ALTER TABLE public.people RENAME TO persons; CREATE SCHEMA other; ALTER TABLE public.teams SET SCHEMA other")
		b.until(t, "SELECT count(*) = 2 FROM capture.captured WHERE table_name IN ('persons', 'teams') AND schema_name IN ('other', 'public') AND reason = ''")
		b.Do(t, "INSERT INTO public.persons VALUES (4, 'dan', 1, 1); UPDATE other.teams SET title = 'green' WHERE id = 1")
		b.quiet(t)
		b.exact(t, "staff")
		require.Equal(t, []string{"ann green", "bob blue", "cat ", "dan green", "eve green"}, pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', name, coalesce(team, '')) FROM views.staff ORDER BY id"))
	})
}
