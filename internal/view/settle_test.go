package view_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
)

// TestSettle_Restored: while nobody reads the changes of a database, a task copies its rows, or repairs the copy. Then the database becomes an older
// copy of its disk, and its transaction ids pass those that were copied. The mirror does not keep rows that no longer exist.
func TestSettle_Restored(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{view.TaskBuild, view.TaskVerify} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b, crm, server := apart(t)
			stop := b.own(t, stream.ModeTrigger, "crm")
			if kind == view.TaskVerify {
				b.quiet(t)
			}
			stop()
			backup := filepath.Join(t.TempDir(), "backup")
			replace := func(from, to string) {
				t.Helper()
				pgtest.Replace(t, server, from, to)
				crm.Reset() // The restart closed its connections.
				b.engine.Databases.Close()
			}
			replace(server.DataDir(), backup)
			crm.Do(t, "INSERT INTO public.posts VALUES (2, 2, 'later'); UPDATE public.posts SET n = 9 WHERE id = 1")
			task := int64(1)
			if kind == view.TaskVerify {
				ids, err := b.engine.Verify(t.Context(), "posts", true, who)
				require.NoError(t, err)
				task = ids[0]
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = b.engine.Work(ctx, task) // It waits, and is canceled.
			}()
			b.until(t, "SELECT state = 'done' OR watermarks <> '{}' FROM view.task WHERE id = $1", task)
			cancel()
			<-done
			b.Do(t, "UPDATE view.task SET taken_at = NULL")

			replace(backup, server.DataDir())
			for range 100 {
				crm.Do(t, "SELECT pg_current_xact_id()")
			}
			b.own(t, stream.ModeTrigger, "crm")
			b.quiet(t)
			require.Empty(t, pgtest.Column[string](t, b.DB, "SELECT reason FROM capture.gap"), "nothing that landed is missing")
			b.mirrored(t, "posts")
			b.exact(t, "posts")
		})
	}
}

// TestSettle_RestoredBetween: while nobody reads the changes of a database, a build copies the first of its rows. Then the database becomes an older
// copy of its disk, and the build copies the rest, and writes its watermark into the older copy, where it lands.
func TestSettle_RestoredBetween(t *testing.T) {
	t.Parallel()
	b, crm, server := apart(t)
	b.own(t, stream.ModeTrigger, "crm")()
	backup := filepath.Join(t.TempDir(), "backup")
	replace := func(from, to string) {
		t.Helper()
		pgtest.Replace(t, server, from, to)
		crm.Reset() // The restart closed its connections.
		b.engine.Databases.Close()
	}
	replace(server.DataDir(), backup)
	crm.Do(t, "UPDATE public.posts SET n = 9 WHERE id = 1")
	b.engine.Chunk, b.engine.Turn = 1, time.Nanosecond
	more, err := b.engine.Work(t.Context(), 1)
	require.NoError(t, err)
	require.True(t, more)
	require.Equal(t, []string{"{1} 1"}, pgtest.Column[string](t, b.DB, "SELECT cursor::text || ' ' || copied FROM view.task WHERE id = 1"), "it has copied the row")

	replace(backup, server.DataDir())
	for range 100 {
		crm.Do(t, "SELECT pg_current_xact_id()")
	}
	b.own(t, stream.ModeTrigger, "crm")
	b.quiet(t)
	t.Log(pgtest.Column[string](t, b.DB, "SELECT reason FROM capture.gap"))
	b.mirrored(t, "posts")
	b.exact(t, "posts")
}

// TestSettle_Pruned: a build whose watermark has landed waits for more than a day for something else: its view is paused, or the waiting changes are
// many. Nothing was restored, so nothing is copied again.
func TestSettle_Pruned(t *testing.T) {
	t.Parallel()
	b, _, _ := apart(t)
	stop := b.own(t, stream.ModeTrigger, "crm")
	stop()
	_, err := b.engine.Work(t.Context(), 1) // It waits.
	require.NoError(t, err)
	b.Do(t, "UPDATE view.view SET paused_at = now()")
	b.own(t, stream.ModeTrigger, "crm")
	b.until(t, "SELECT count(*) = 2 FROM capture.watermark")
	// So much time passes.
	b.Do(t, "INSERT INTO capture.watermark SELECT 'nobody''s', id FROM capture.stream WHERE name = 'crm'; UPDATE capture.watermark SET landed_at = now() - interval '25 hours'")
	b.until(t, "SELECT NOT EXISTS (SELECT FROM capture.watermark WHERE token = 'nobody''s')")
	b.Do(t, "UPDATE view.view SET paused_at = NULL; UPDATE view.task SET retry_at = NULL")
	b.quiet(t)
	require.Equal(t, []string{"build done 1"}, pgtest.Column[string](t, b.DB, "SELECT kind || ' ' || state || ' ' || copied FROM view.task ORDER BY id"))
}

// TestSettle_Waits: a build that has copied rows waits until somebody reads the changes of their database, and then serves. It copies nothing again.
func TestSettle_Waits(t *testing.T) {
	t.Parallel()
	b, _, _ := apart(t)
	stop := b.own(t, stream.ModeTrigger, "crm")
	stop()
	for range 2 {
		_, err := b.engine.Work(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, []string{"running: it waits until the log has the changes of the databases that it has copied"},
			pgtest.Column[string](t, b.DB, "SELECT state || ': ' || error FROM view.task WHERE id = 1"))
	}
	b.own(t, stream.ModeTrigger, "crm")
	b.until(t, "SELECT count(*) = 3 FROM capture.watermark")
	b.Do(t, "UPDATE view.task SET retry_at = NULL")
	b.quiet(t)
	require.Equal(t, []string{"build done 1"}, pgtest.Column[string](t, b.DB, "SELECT kind || ' ' || state || ' ' || copied FROM view.task ORDER BY id"))
	b.exact(t, "posts")
}

// apart creates a view of a table in a database of another cluster. Nothing is built yet.
func apart(t *testing.T) (b *testBundle, crm *pgtest.DB, server *pgserver.Server) {
	t.Helper()
	installed := pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}
	b = setupOn(t, pgtest.Database(t, installed), "CREATE TABLE public.authors (id integer PRIMARY KEY, name text)")
	b.Do(t, "INSERT INTO public.authors VALUES (1, 'Ada'), (2, 'Bob')")
	server = pgtest.Server(t, nil)
	crm = pgtest.On(t, server, installed)
	b.sources["crm"] = crm
	b.database("crm", crm)
	crm.Do(t, "CREATE TABLE public.posts (id integer PRIMARY KEY, n integer, body text)"+marks)
	crm.Do(t, "INSERT INTO public.posts VALUES (1, 1, 'first')")
	b.capture(t, stream.ModeTrigger)
	b.apply(t, read(t, posts))
	return b, crm, server
}

// TestSettle_Canceled: a watermark's statement is canceled, as by a timeout, and the chunk is copied again. The build does not wait for a watermark
// that was never written.
func TestSettle_Canceled(t *testing.T) {
	t.Parallel()
	b, crm, _ := apart(t)
	b.own(t, stream.ModeTrigger, "crm")
	queue := trigger.Schema("crm") + ".queue_0"
	locker, err := crm.Begin(t.Context())
	require.NoError(t, err)
	_, err = locker.Exec(t.Context(), "LOCK TABLE "+queue+" IN SHARE MODE")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := b.engine.Work(t.Context(), 1)
		done <- err
	}()
	require.Eventually(t, func() bool {
		var canceled bool
		err := crm.QueryRow(t.Context(), "SELECT coalesce(bool_or(pg_cancel_backend(pid)), false) FROM pg_locks WHERE NOT granted AND relation = $1::regclass", queue).Scan(&canceled)
		return err == nil && canceled
	}, time.Minute, 5*time.Millisecond)
	require.NoError(t, locker.Rollback(t.Context()))
	require.NoError(t, <-done)
	b.quiet(t)
	require.Equal(t, []string{"build done"}, pgtest.Column[string](t, b.DB, "SELECT kind || ' ' || state FROM view.task ORDER BY id"))
	b.exact(t, "posts")
}
