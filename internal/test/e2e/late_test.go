package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestLateFromCapture builds the command once, and tests in each mode that late events are noticed in the stream of changes.
func TestLateFromCapture(t *testing.T) {
	t.Parallel()
	binary := build(t)
	for mode, level := range map[string]string{"trigger": "replica", "wal": "logical"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testLateFromCapture(t, binary, mode, level)
		})
	}
}

// testLateFromCapture adds, moves, changes and deletes events of past dates, while a worker is killed and another continues. The
// metrics equal the events afterwards.
func testLateFromCapture(t *testing.T, binary, mode, level string) {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"wal_level": level})
	b := &testBundle{db: pgtest.On(t, server, installed), binary: binary}
	b.db.RawEvents(t)
	for i := range 4 {
		b.db.InsertDate(t, day.AddDays(i), 200, 20)
	}
	ok := func(arguments ...string) string {
		t.Helper()
		output, code := b.run(t, append(arguments, "--database-url", b.db.URL)...)
		require.Zero(t, code, output)
		return output
	}
	ok("source", "set", "--table", "public.raw_events", "--entity", "entity_id", "--type", "event_type", "--time", "created_at")
	if mode == "wal" {
		output, code := b.run(t, "source", "watch", "--from", "capture", "--database-url", b.db.URL)
		require.Equal(t, 2, code)
		require.Contains(t, output, `ALTER TABLE "public"."raw_events" REPLICA IDENTITY FULL`)
		b.db.Do(t, `ALTER TABLE public.raw_events REPLICA IDENTITY FULL`)
	}
	require.Contains(t, ok("source", "watch", "--from", "capture"), "are noticed in the stream of changes, by created_at")
	ok("source", "watch", "--from", "capture") // A repeat does no harm.
	first := b.worker(t)
	b.db.Wait(t, "(SELECT state = 'running' AND mode = $1 FROM capture.stream WHERE name = 'app')", mode)
	b.db.Wait(t, "EXISTS (SELECT FROM capture.captured WHERE table_name = 'raw_events' AND reason = '')")
	require.Zero(t, pgtest.Value[int](t, b.db, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'daymill_watch%'"))
	b.request(t, day, day.AddDays(1), day.AddDays(2), day.AddDays(3))
	settled := "NOT EXISTS (SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)"
	b.db.Wait(t, settled)

	at := func() string {
		return fmt.Sprintf("'2026-03-01 00:00+00'::timestamptz + interval '%d minutes'", rand.IntN(6*24*60)-24*60)
	}
	for i := range 60 {
		some := fmt.Sprintf("id IN (SELECT id FROM public.raw_events ORDER BY random() LIMIT %d)", 1+rand.IntN(3))
		switch rand.IntN(4) {
		case 0:
			b.db.Do(t, "UPDATE public.raw_events SET created_at = "+at()+" WHERE "+some)
		case 1:
			b.db.Do(t, "UPDATE public.raw_events SET event_type = 'other' WHERE "+some)
		case 2:
			b.db.Do(t, "DELETE FROM public.raw_events WHERE "+some)
		default:
			b.db.Do(t, "INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (7, 'view', "+at()+")")
		}
		if i == 30 {
			first.kill(t)
			b.worker(t)
		}
	}
	// When the date of the last change is requested, those of earlier changes are, too.
	b.db.Do(t, "INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (7, 'view', '2026-01-01 12:00+00')")
	b.db.Wait(t, "EXISTS (SELECT FROM analytics.rollup_dates WHERE metric_date = '2026-01-01' AND state = 'complete')")
	b.db.Wait(t, settled)
	pgtest.RequireExact(t, b.db)

	require.Contains(t, ok("source", "unwatch"), "no longer noticed in the stream of changes")
	require.Contains(t, ok("sink", "list"), "there are no sinks")
}
