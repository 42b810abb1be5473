package view_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
)

const posts = `
name: posts
tables:
  - {table: authors, columns: [{column: id, key: true}, name]}
  - {database: crm, table: posts, left: true, join: {id: id}, columns: [{n: likes}, {body: text}]}`

// mirrored creates a view of a table in another database, whose rows have a value that is stored out of line. Nothing is built yet.
func mirrored(t *testing.T, mode string, rows int) (b *testBundle, crm *pgtest.DB) {
	t.Helper()
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	b = setupOn(t, pgtest.On(t, server, installed), "CREATE TABLE public.authors (id integer PRIMARY KEY, name text)")
	b.Do(t, "INSERT INTO public.authors SELECT i, 'author ' || i FROM generate_series(1, $1::integer) AS i", rows)
	crm = pgtest.On(t, server, installed)
	b.sources["crm"] = crm
	b.database("crm", crm)
	crm.Do(t, "CREATE TABLE public.posts (id integer PRIMARY KEY, n integer, body text); ALTER TABLE public.posts ALTER body SET STORAGE EXTERNAL"+marks)
	crm.Do(t, "INSERT INTO public.posts SELECT i, 0, repeat('x', 5000) || i FROM generate_series(1, $1::integer) AS i", rows)
	b.capture(t, mode)
	b.apply(t, read(t, posts))
	b.own(t, mode, "crm")
	return b, crm
}

// TestFillUntouched: while a mirror is filled for the first time, a change arrives that lacks a value, because it did not touch it. The mirror has
// the value all the same.
func TestFillUntouched(t *testing.T) {
	t.Parallel()
	b, crm := mirrored(t, stream.ModeWAL, 3)
	b.engine.Chunk, b.engine.Turn = 1, time.Nanosecond
	_, err := b.engine.Work(t.Context(), 1) // The first chunk: the mirror is emptied before it.
	require.NoError(t, err)
	b.engine.Turn = 0
	// The change is committed and delivered while the read of the rows waits for a lock.
	writer, err := crm.Begin(t.Context())
	require.NoError(t, err)
	_, err = writer.Exec(t.Context(), "UPDATE public.posts SET n = 7 WHERE id = 2")
	require.NoError(t, err)
	locker, err := crm.Begin(t.Context())
	require.NoError(t, err)
	locked := make(chan error, 1)
	go func() {
		_, err := locker.Exec(context.WithoutCancel(t.Context()), "LOCK TABLE public.posts IN ACCESS EXCLUSIVE MODE")
		locked <- err
	}()
	waits := func(count int) {
		b.until(t, "SELECT count(*) = $1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'", count)
	}
	waits(1)
	built := make(chan error, 1)
	go func() {
		_, err := b.engine.Work(t.Context(), 1)
		built <- err
	}()
	waits(2)
	require.NoError(t, writer.Commit(t.Context()))
	require.NoError(t, <-locked)
	b.until(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 'posts')")
	b.consume(t.Context(), t)
	require.True(t, b.quietly(t, "SELECT delivered > 0 FROM capture.shard WHERE consumer = 'view-1-crm'"))
	require.NoError(t, locker.Rollback(t.Context()))
	require.NoError(t, <-built)
	b.quiet(t)
	b.mirrored(t, "posts")
	b.exact(t, "posts")
}

// TestCopyContinues: changes of all kinds are delivered between the chunks of a copy, each of which another turn makes. Nothing is copied twice.
func TestCopyContinues(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b, crm := mirrored(t, mode, 30)
			b.engine.Chunk, b.engine.Turn = 4, time.Nanosecond
			for turn := 1; ; turn++ {
				more, err := b.engine.Work(t.Context(), 1)
				require.NoError(t, err)
				if !more {
					break
				}
				for _, sql := range []string{
					"UPDATE public.posts SET n = n + 1 WHERE id % 2 = $1::integer % 2", "UPDATE public.posts SET body = 'turn ' || $1::integer WHERE id % 7 = $1 % 7",
					"DELETE FROM public.posts WHERE id = 31 - $1::integer", "INSERT INTO public.posts VALUES (100 + $1::integer, $1, repeat('y', 5000)), (-$1, 0, 'z')",
					"UPDATE public.posts SET id = id + 50 WHERE id = 25 - $1::integer",
				} {
					crm.Do(t, sql, turn)
				}
				b.until(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 'posts' AND new ->> 'id' = $1::text)", strconv.Itoa(100+turn))
				b.consume(t.Context(), t)
			}
			require.Equal(t, []string{"true"}, pgtest.Column[string](t, b.DB, "SELECT (copied BETWEEN 30 AND 90)::text FROM view.task WHERE id = 1"))
			b.quiet(t)
			b.mirrored(t, "posts")
			b.exact(t, "posts")
		})
	}
}

// TestCopyWaits: a transaction is in the log and delivered, but its rows are not visible, because it waits for a synchronous standby. They are
// copied when they are visible.
func TestCopyWaits(t *testing.T) {
	t.Parallel()
	b, crm := mirrored(t, stream.ModeWAL, 3)
	release := crm.HoldCommits(t)
	committed := make(chan error, 1)
	go func() {
		_, err := crm.Exec(context.WithoutCancel(t.Context()), "SET synchronous_commit = on; DELETE FROM public.posts WHERE id = 2; UPDATE public.posts SET n = 1 WHERE id = 3")
		committed <- err
	}()
	b.until(t, "SELECT count(*) = 2 FROM capture.log WHERE table_name = 'posts'")
	b.consume(t.Context(), t)
	_, err := b.engine.Work(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, []string{"running 0 t"}, pgtest.Column[string](t, b.DB, "SELECT concat_ws(' ', state, copied, error LIKE '%it waits until rows are visible%') FROM view.task WHERE id = 1"))
	release()
	require.NoError(t, <-committed)
	b.Do(t, "UPDATE view.task SET retry_at = NULL")
	b.quiet(t)
	b.mirrored(t, "posts")
	b.exact(t, "posts")
}

// TestVerifyMirror: a verification finds rows of a mirror that differ from their table, and repairs them and the view.
func TestVerifyMirror(t *testing.T) {
	t.Parallel()
	b, _ := mirrored(t, stream.ModeTrigger, 9)
	b.quiet(t)
	b.exact(t, "posts")
	require.NotEmpty(t, pgtest.Column[string](t, b.DB, `SELECT 'x' FROM pg_statistic AS s INNER JOIN pg_class AS c ON c.oid = s.starelid
		WHERE c.relnamespace = 'view_mirror'::regnamespace`), "the planner has statistics")
	b.Do(t, `DO $$
		DECLARE mirror text;
		BEGIN
			SELECT format('view_mirror.%I', tablename) INTO mirror FROM pg_tables WHERE schemaname = 'view_mirror' AND tablename LIKE '%posts';
			EXECUTE 'UPDATE ' || mirror || ' SET body = NULL WHERE id = 2; DELETE FROM ' || mirror || ' WHERE id = 4';
			EXECUTE 'INSERT INTO ' || mirror || ' SELECT 11, n, body, _daymill_position FROM ' || mirror || ' WHERE id = 1';
		END $$; INSERT INTO public.authors VALUES (11, 'eleven')`)
	_, err := b.engine.Refresh(t.Context(), "posts", nil, who)
	require.NoError(t, err)
	b.engine.Chunk = 2
	verify := func(repair bool) view.Task {
		b.Do(t, "UPDATE view.task SET stage = 1 WHERE kind = 'build' AND state = 'queued'") // Only the view is refreshed, and not the mirror.
		b.quiet(t)
		ids, err := b.engine.Verify(t.Context(), "posts", repair, who)
		require.NoError(t, err)
		b.quiet(t)
		task, err := view.GetTask(t.Context(), b.DB.DB, ids[0])
		require.NoError(t, err)
		require.Equal(t, view.Done, task.State)
		return task
	}
	found := verify(false)
	require.Equal(t, []int64{3, 0, 9}, []int64{found.Differing, found.Repaired, found.Copied})
	require.Equal(t, []string{"copy of crm.public.posts 2", "copy of crm.public.posts 4", "copy of crm.public.posts 11"}, found.Examples)
	found = verify(true)
	require.Equal(t, []int64{3, 3}, []int64{found.Differing, found.Repaired})
	b.mirrored(t, "posts")
	b.exact(t, "posts")
	require.Zero(t, verify(false).Differing)
}

// TestMirrorColumns: a column of a table in another database is added to the view's table and to the mirror in place, and dropped from both, while
// changes arrive that lack its value.
func TestMirrorColumns(t *testing.T) {
	t.Parallel()
	b, crm := mirrored(t, stream.ModeWAL, 20)
	without := strings.Replace(posts, ", {body: text}", "", 1)
	b.apply(t, read(t, without))
	b.quiet(t)
	b.exact(t, "posts")
	const table = "SELECT 'views.posts'::regclass::oid::text"
	before := pgtest.Column[string](t, b.DB, table)
	columns := func() []string {
		return pgtest.Column[string](t, b.DB, `SELECT attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid = (
			SELECT oid FROM pg_class WHERE relnamespace = 'view_mirror'::regnamespace AND relname LIKE '%posts') ORDER BY attname`)
	}
	require.Equal(t, []string{"_daymill_position", "id", "n"}, columns())

	steps := b.apply(t, read(t, posts))
	require.Equal(t, "adds text; ALTER TABLE locks the table and its mirrors for a moment, and then new columns, which are NULL at first, are copied and filled in chunks", steps[0].Why)
	small := *b.engine
	small.Chunk, small.Turn = 3, time.Nanosecond
	task, err := strconv.ParseInt(pgtest.Column[string](t, b.DB, "SELECT max(id)::text FROM view.task")[0], 10, 64)
	require.NoError(t, err)
	for turn, more := 1, true; more; turn++ {
		crm.Do(t, "UPDATE public.posts SET n = n + 1")
		crm.Do(t, "INSERT INTO public.posts VALUES ($1)", 100+turn)
		b.until(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 'posts' AND new ->> 'id' = $1::text)", strconv.Itoa(100+turn))
		b.consume(t.Context(), t)
		more, err = small.Work(t.Context(), task)
		require.NoError(t, err)
	}
	b.quiet(t)
	b.mirrored(t, "posts")
	b.exact(t, "posts")
	require.Equal(t, []string{"20"}, pgtest.Column[string](t, b.DB, "SELECT count(text)::text FROM views.posts"))
	require.Equal(t, before, pgtest.Column[string](t, b.DB, table))

	crm.Do(t, "ALTER TABLE public.posts DROP COLUMN body")
	b.quiet(t)
	crm.Do(t, "ALTER TABLE public.posts ADD COLUMN body integer DEFAULT 7")
	b.quiet(t)
	_, err = b.engine.Decide(t.Context(), "posts", true, nil, who)
	require.NoError(t, err)
	b.quiet(t)
	b.mirrored(t, "posts")
	b.exact(t, "posts")
	require.Equal(t, []string{"20"}, pgtest.Column[string](t, b.DB, "SELECT count(*)::text FROM views.posts WHERE body = 7"))
	steps = b.apply(t, read(t, without))
	require.Equal(t, view.StepAlter, steps[0].Verb)
	b.quiet(t)
	b.mirrored(t, "posts")
	b.exact(t, "posts")
	require.Equal(t, []string{"_daymill_position", "id", "n"}, columns())
	require.Equal(t, before, pgtest.Column[string](t, b.DB, table))
}
