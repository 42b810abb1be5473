package stream_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestGap_NotRecorded: while a gap cannot be recorded, what shows it stays: a process that ended in between would otherwise leave no trace
// of it.
func TestGap_NotRecorded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mode, lose, gap string
	}{
		"Publication": {stream.ModeWAL, "DO $$ BEGIN EXECUTE (SELECT format('ALTER PUBLICATION %I DROP TABLE app.t', pubname) FROM pg_publication); END $$", "publication app.t"},
		"Queue":       {stream.ModeTrigger, "SELECT nextval('daymill_capture.failures')", "queue "},
		"Slot":        {stream.ModeWAL, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots", "slot "},
		"Triggers":    {stream.ModeTrigger, "ALTER TABLE app.t DISABLE TRIGGER USER", "queue app.t"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Do(t, simple)
			b.start(t, b.owner("app", test.mode))()
			b.wait(t, "SELECT count(*) = 0 FROM pg_replication_slots WHERE active") // Postgres notices a closed connection a moment later.
			b.Do(t, test.lose)
			b.Do(t, `INSERT INTO app.t VALUES (1);
				CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no gap can be recorded'; END $$;
				CREATE TRIGGER refuse BEFORE INSERT ON capture.gap FOR EACH ROW EXECUTE FUNCTION public.refuse()`)
			owner := b.owner("app", test.mode)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- owner.Run(ctx) }()
			b.wait(t, "SELECT reason LIKE '%no gap can be recorded%' FROM capture.stream")
			b.Do(t, "DROP TRIGGER refuse ON capture.gap")
			b.wait(t, `WITH marker AS (INSERT INTO app.marker DEFAULT VALUES)
				SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 'marker')`) // It reads what comes after the gap.
			require.Equal(t, []string{test.gap}, b.gaps(t, "app"))
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
		})
	}
}

// TestWAL_Unreadable: the server cannot read the WAL of a slot, here because a file is missing, and says so each time. That is a gap, and the stream
// continues with a new slot.
func TestWAL_Unreadable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	stop := b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	stop()
	b.wait(t, "SELECT NOT active FROM pg_replication_slots")
	b.Do(t, "INSERT INTO app.t VALUES (1)")
	b.Do(t, "SELECT pg_switch_wal()")
	b.Do(t, "CHECKPOINT")
	file := pgtest.Column[string](t, b.DB, "SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots")[0]
	require.NoError(t, b.Server.Stop(t.Context(), pgserver.Fast))
	require.NoError(t, os.Remove(filepath.Join(b.Server.DataDir(), "pg_wal", file)))
	require.NoError(t, b.Server.Start(t.Context()))
	b.Reset()
	b.start(t, b.owner("app", stream.ModeWAL))
	b.running(t, 1)
	require.Equal(t, []string{"slot "}, b.gaps(t, "app"))
	b.Do(t, "INSERT INTO app.t VALUES (2)")
	b.mark(t, "app")
	require.False(t, b.has(t, 1))
	require.True(t, b.has(t, 2))
}

// TestWAL_Gap: a slot that somebody drops, recreates or advances, or that the server invalidates, is a gap, and the stream continues.
func TestWAL_Gap(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	stop := b.start(t, b.owner("app", stream.ModeWAL))
	var slot string
	require.NoError(t, b.QueryRow(t.Context(), "SELECT slot FROM capture.stream").Scan(&slot))
	b.mark(t, "app")
	stop()
	b.wait(t, "SELECT NOT active FROM pg_replication_slots")
	b.Do(t, "SELECT pg_drop_replication_slot($1)", slot)
	b.Do(t, "INSERT INTO app.t VALUES (1)")
	stop = b.start(t, b.owner("app", stream.ModeWAL))
	require.Equal(t, []string{"slot "}, b.gaps(t, "app"))
	b.Do(t, "INSERT INTO app.t VALUES (2)")
	b.mark(t, "app")
	require.False(t, b.has(t, 1))
	require.True(t, b.has(t, 2))
	stop()

	b.wait(t, "SELECT NOT active FROM pg_replication_slots")
	b.Do(t, "SELECT pg_drop_replication_slot($1)", slot)
	b.Do(t, "INSERT INTO app.t VALUES (3)")
	b.Do(t, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", slot)
	stop = b.start(t, b.owner("app", stream.ModeWAL))
	require.Equal(t, []string{"slot ", "slot "}, b.gaps(t, "app"), "recreated")
	b.mark(t, "app")

	b.Do(t, "ALTER PUBLICATION "+slot+" DROP TABLE app.t")
	b.running(t, 3)
	require.Equal(t, "publication app.t", b.gaps(t, "app")[2])
	b.mark(t, "app")
	stop()

	b.Do(t, "DROP PUBLICATION "+slot)
	b.Do(t, "INSERT INTO app.t VALUES (4)")
	stop = b.start(t, b.owner("app", stream.ModeWAL))
	b.wait(t, "SELECT count(*) = 1 FROM capture.stream WHERE state = 'running' AND EXISTS (SELECT FROM capture.gap WHERE reason LIKE 'the publication % was dropped')") // There is a slot again.
	b.mark(t, "app")
	stop()

	b.wait(t, "SELECT NOT active FROM pg_replication_slots")
	keep := func(setting string) {
		b.Do(t, "ALTER SYSTEM SET max_slot_wal_keep_size = '"+setting+"'")
		b.Do(t, "SELECT pg_reload_conf()")
	}
	keep("1MB")
	b.wait(t, "SELECT setting = '1' FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")
	require.True(t, waitFor(t.Context(), func() bool {
		b.Do(t, "INSERT INTO app.t VALUES (5) ON CONFLICT (id) DO UPDATE SET v = 'again'")
		b.Do(t, "SELECT pg_switch_wal()")
		b.Do(t, "CHECKPOINT")
		var status string
		require.NoError(t, b.QueryRow(t.Context(), "SELECT wal_status FROM pg_replication_slots").Scan(&status))
		return status == "lost"
	}))
	keep("-1")
	b.wait(t, "SELECT setting = '-1' FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")
	b.start(t, b.owner("app", stream.ModeWAL))
	gaps := b.gaps(t, "app")
	b.wait(t, "SELECT kind = 'slot' AND reason LIKE '%was invalidated%' FROM capture.gap ORDER BY id DESC LIMIT 1")
	b.mark(t, "app")
	require.Equal(t, gaps, b.gaps(t, "app"))
	require.False(t, b.has(t, 5))
}
