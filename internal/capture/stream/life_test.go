package stream_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/pgserver"
)

// TestWAL_Life: a source that is another cluster, or that went back in time, is a gap; one that was promoted and has everything that
// was read from it is none.
func TestWAL_Life(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, simple)
	again := func(t *testing.T) {
		t.Helper()
		b.wait(t, "SELECT NOT active FROM pg_replication_slots")
		b.start(t, b.owner("app", stream.ModeWAL))
		b.mark(t, "app")
	}
	stop := b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	stop()
	b.exec(t, "UPDATE capture.stream SET system_id = '1'")
	stop = b.start(t, b.owner("app", stream.ModeWAL))
	require.Equal(t, []string{"cluster "}, b.gaps(t, "app"))
	stop()
	b.exec(t, "UPDATE capture.stream SET lsn = 'FF/0'")
	stop = b.start(t, b.owner("app", stream.ModeWAL))
	require.Equal(t, []string{"cluster ", "restore "}, b.gaps(t, "app"))
	b.mark(t, "app")
	stop()

	require.NoError(t, b.Server.Stop(t.Context(), pgserver.Fast))
	require.NoError(t, os.WriteFile(filepath.Join(b.Server.DataDir(), "standby.signal"), nil, 0o644)) //nolint:gosec // The server reads it.
	require.NoError(t, b.Server.Start(t.Context()))
	b.Reset() // Its connections are gone.
	b.wait(t, "SELECT pg_promote()")
	again(t)
	require.Len(t, b.gaps(t, "app"), 2, "it was promoted, and has everything")
	var timeline int
	require.NoError(t, b.QueryRow(t.Context(), "SELECT timeline FROM capture.stream").Scan(&timeline))
	require.Equal(t, 2, timeline)
}

// TestWAL_Lagged: a follower that was promoted, and has not got the last of what was read, is a gap also where it has written more
// than that by now.
func TestWAL_Lagged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, simple)
	stop := b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	stop()
	require.NoError(t, b.Server.Stop(t.Context(), pgserver.Fast))
	require.NoError(t, os.WriteFile(filepath.Join(b.Server.DataDir(), "standby.signal"), nil, 0o644)) //nolint:gosec // As above.
	require.NoError(t, b.Server.Start(t.Context()))
	b.Reset() // Its connections are gone.
	b.wait(t, "SELECT pg_promote()")
	// What was read of the other timeline goes beyond where this one left it, and this one has come past that.
	b.wait(t, "SELECT NOT pg_is_in_recovery()")
	b.exec(t, "INSERT INTO app.t VALUES (1)")
	b.exec(t, "UPDATE capture.stream SET lsn = pg_current_wal_insert_lsn()::text")
	b.exec(t, "INSERT INTO app.t VALUES (2)")
	b.start(t, b.owner("app", stream.ModeWAL))
	require.Equal(t, []string{"restore "}, b.gaps(t, "app"))
}
