package view_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestTaken: a view never takes another table for its own, and can continue with the one that has the name.
func TestTaken(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testTaken(t, mode)
		})
	}
}

func testTaken(t *testing.T, mode string) {
	t.Helper()
	const (
		items = "CREATE TABLE public.items (id integer PRIMARY KEY, name text); INSERT INTO public.items VALUES (1, 'one'), (2, 'two')"
		fresh = "CREATE TABLE public.items_new (LIKE public.items INCLUDING ALL); INSERT INTO public.items_new VALUES (2, 'zwei'), (3, 'drei')"
		swap  = "BEGIN; ALTER TABLE public.items RENAME TO items_old; ALTER TABLE public.items_new RENAME TO items; COMMIT"
		says  = "table public.items is now called public.items_old, and another table is called public.items: accept to read that one, or change the definition"
	)
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_replication_slots": "50", "max_wal_senders": "50"})
	for _, in := range []string{"app", "crm"} {
		start := func(t *testing.T, tables ...string) (b *testBundle, do func(sql string)) {
			t.Helper()
			b = setupOn(t, pgtest.On(t, server, installed), "SELECT 1")
			if in != "app" {
				b.sources[in] = pgtest.On(t, server, installed)
				b.database(in, b.sources[in])
			}
			do = func(sql string) {
				_, err := b.sources[in].Exec(t.Context(), sql)
				require.NoError(t, err, sql)
			}
			if do(items); in != "app" {
				do("SELECT 1" + marks)
			}
			b.tables = tables
			b.capture(t, mode)
			b.apply(t, read(t, "name: names\ntables: [{database: "+in+", table: items, columns: [id, name]}]"))
			if in != "app" {
				b.own(t, mode, in)
			}
			b.quiet(t)
			b.exact(t, "names")
			return b, do
		}
		names := func(t *testing.T, b *testBundle) []string {
			t.Helper()
			return pgtest.Column[string](t, b.DB, "SELECT id || ' ' || name FROM views.names ORDER BY id")
		}
		accept := func(t *testing.T, b *testBundle) {
			t.Helper()
			var oid int64
			require.NoError(t, b.sources[in].QueryRow(t.Context(), "SELECT 'public.items'::regclass::oid::bigint").Scan(&oid))
			b.until(t, "SELECT count(*) > 0 FROM capture.captured WHERE table_name = 'items' AND oid = $1 AND reason = ''", oid)
			count, err := b.engine.Decide(t.Context(), "names", true, nil, who)
			require.NoError(t, err)
			require.Equal(t, 1, count)
		}
		t.Run(in, func(t *testing.T) {
			t.Parallel()

			for name, tables := range map[string][]string{"Accepted": nil, "AcceptedOnlyItIsCaptured": {"public.items", "marks.mark"}} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					b, do := start(t, tables...)
					do("UPDATE public.items SET name = 'uno' WHERE id = 1; DELETE FROM public.items WHERE id = 2; INSERT INTO public.items VALUES (9, 'nine')")
					if do(fresh); tables == nil {
						b.until(t, "SELECT count(*) > 0 FROM capture.captured WHERE table_name = 'items_new'") // So there is no gap.
					}
					do(swap)
					do("UPDATE public.items_old SET name = 'old'; UPDATE public.items SET name = 'tres' WHERE id = 3; INSERT INTO public.items_old VALUES (8, 'eight')")
					require.NoError(t, b.engine.Maintain(t.Context()))
					require.Equal(t, says, b.view(t, "names").PausedBecause)
					if tables != nil {
						b.until(t, "SELECT count(*) > 0 FROM capture.gap")
					}
					b.quiet(t)
					require.Equal(t, []string{"1 one", "2 two"}, names(t, b), "the table does not change")
					require.Empty(t, pgtest.Column[int64](t, b.DB, "SELECT id FROM view.task WHERE state NOT IN ('done', 'canceled')"), "nothing is built before the decision")
					accept(t, b)
					if tables == nil { // Changes that waited arrive after the rows are copied. Otherwise they arrive before that.
						for _, id := range pgtest.Column[int64](t, b.DB, "SELECT id FROM view.task WHERE state = 'queued'") {
							_, err := b.engine.Work(t.Context(), id)
							require.NoError(t, err)
						}
					}
					do("INSERT INTO public.items VALUES (4, 'vier'); INSERT INTO public.items_old VALUES (7, 'seven')")
					b.quiet(t)
					b.exact(t, "names")
					require.Equal(t, []string{"2 zwei", "3 tres", "4 vier"}, names(t, b))
					b.mirrored(t, "names")
					require.Equal(t, []string{"table_renamed accepted: " + says}, b.drift(t))
				})
			}

			t.Run("OneAfterTheOther", func(t *testing.T) {
				t.Parallel()
				b, do := start(t)
				do("ALTER TABLE public.items RENAME TO items_old")
				require.NoError(t, b.engine.Maintain(t.Context()))
				do("INSERT INTO public.items_old VALUES (5, 'five'); CREATE TABLE public.items (name text, id text PRIMARY KEY); INSERT INTO public.items VALUES ('new', 'a'), ('other', '2')")
				b.until(t, "SELECT count(*) = 2 FROM capture.captured WHERE table_name IN ('items', 'items_old') AND reason = ''")
				do("INSERT INTO public.items VALUES ('later', 'b'), ('other', '1'); DELETE FROM public.items_old WHERE id = 1")
				b.quiet(t)
				b.exact(t, "names")
				require.Equal(t, []string{"2 two", "5 five"}, names(t, b))
				b.mirrored(t, "names")
				require.Equal(t, []string{"table_renamed followed: table public.items is now called public.items_old"}, b.drift(t))
				require.Empty(t, b.serving(t, "names").Plan.Sources[0].Former, "the name belongs to another table")
			})
		})
	}

	t.Run("Delivered", func(t *testing.T) {
		t.Parallel()
		b := setupOn(t, pgtest.On(t, server, installed), items)
		b.capture(t, mode)
		b.apply(t, read(t, "name: names\ntables: [{table: items, columns: [id, name]}]"))
		b.quiet(t)
		deliver := b.opened(t, "names", "app")
		b.Do(t, "UPDATE public.items SET name = 'dos' WHERE id = 2")
		b.until(t, "SELECT count(*) > 0 FROM capture.log WHERE table_name = 'items'")
		b.Do(t, fresh+";"+swap)
		result, err := deliver()
		require.NoError(t, err)
		require.ErrorContains(t, result.Err, `another table is called "public"."items" now, or none is`)
		require.Equal(t, []string{"one", "two"}, pgtest.Column[string](t, b.DB, "SELECT name FROM views.names ORDER BY id"))
	})

	t.Run("Waits", func(t *testing.T) {
		t.Parallel()
		b := setupOn(t, pgtest.On(t, server, installed), items)
		stop := b.capture(t, mode)
		b.apply(t, read(t, "name: names\ntables: [{table: items, columns: [id, name]}]"))
		b.quiet(t)
		stop()
		b.Do(t, fresh+";"+swap)
		require.NoError(t, b.engine.Maintain(t.Context()))
		_, err := b.engine.Decide(t.Context(), "names", true, nil, who)
		require.NoError(t, err)
		_, err = b.engine.Work(t.Context(), 2)
		require.NoError(t, err)
		require.Equal(t, []string{"it waits until changes of public.items of database app are captured"}, pgtest.Column[string](t, b.DB, "SELECT error FROM view.task WHERE id = 2"))
	})
}
