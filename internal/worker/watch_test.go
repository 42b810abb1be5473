package worker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
)

func TestWatch(t *testing.T) {
	t.Parallel()

	// setupWatched returns a bundle with three complete dates and a watched table.
	setupWatched := func(t *testing.T) *testBundle {
		t.Helper()
		b := setupUnscheduled(t)
		for _, d := range dates(3) {
			b.db.InsertDate(t, d, 100, 20)
		}
		_, err := source.Watch(t.Context(), b.db.DB, b.db.Installation, source.WatchOptions{Table: "raw_events", Time: "created_at"})
		require.NoError(t, err)
		b.request(t, dates(3)...)
		return b
	}
	// later sets a worker's clock to a time at which every request is due.
	later := func(config *worker.Config) { config.Clock = newTestClock(time.Now().Add(time.Minute)) }

	t.Run("Copy", func(t *testing.T) {
		t.Parallel()
		b := setupWatched(t)
		b.start(t, later)
		b.awaitDone(t)
		pgtest.RequireExact(t, b.db)

		conn, err := b.db.Acquire(t.Context())
		require.NoError(t, err)
		_, err = conn.Conn().PgConn().CopyFrom(t.Context(), strings.NewReader(
			"7,view,2026-03-01 12:00+00\n7,view,2026-03-03 12:00+00\n7,view,2026-02-01 00:00+00\n8,view,2026-02-01 00:00+00\n"),
			"COPY public.raw_events (entity_id, event_type, created_at) FROM STDIN (FORMAT csv)")
		require.NoError(t, err)
		conn.Release()
		b.awaitDone(t)
		require.Equal(t, int64(4), pgtest.RequireExact(t, b.db).Dates)

		b.db.Do(t, "UPDATE public.raw_events SET created_at = '2026-03-02 12:00+00' WHERE entity_id = 7 AND created_at < '2026-03-01'")
		b.awaitDone(t)
		pgtest.RequireExact(t, b.db)
		b.db.Do(t, "DELETE FROM public.raw_events WHERE entity_id = 7")
		b.awaitDone(t)
		// A date that keeps an event is rolled up; one that lost all would be protected.
		require.Equal(t, int64(301), pgtest.RequireExact(t, b.db).Events)
	})
	t.Run("DuringARun", func(t *testing.T) {
		t.Parallel()
		b := setupWatched(t)
		b.hold(t, day)
		b.start(t, later)
		b.awaitHeld(t, day)
		// The run has claimed its requests and passed the entity; River skips another job of the date.
		b.db.Insert(t, pgtest.Event{Entity: lowest, Type: "view", At: at(day, 12)})
		b.release(t, day)
		b.awaitDone(t)
		pgtest.RequireExact(t, b.db)
	})
	t.Run("Rests", func(t *testing.T) {
		t.Parallel()
		b := setupWatched(t)
		b.start(t)
		b.db.Wait(t, "(SELECT count(*) = 3 FROM analytics.rollup_dates WHERE state = 'complete')")
		b.awaitDone(t)
		runs := b.runs(t)
		// A run of the whole date that took a long time.
		b.db.Do(t, "UPDATE analytics.rollup_runs SET started_at = finished_at - interval '1 hour', worked_ms = 3600000, scope = 0")
		for range 3 {
			b.db.Insert(t, pgtest.Event{Entity: "7", Type: "view", At: at(day, 12)})
		}
		b.awaitLooks(t)
		require.Equal(t, runs, b.runs(t))
		require.Equal(t, int64(3), b.openRequests(t))
		b.db.Do(t, "UPDATE analytics.rollup_runs SET started_at = finished_at")
		b.awaitDone(t)
		require.Equal(t, runs+1, b.runs(t), "one run for all")
		pgtest.RequireExact(t, b.db)
	})
}
