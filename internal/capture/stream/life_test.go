package stream_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/pgserver"
)

// TestWAL_Life: a source that is another cluster, or that went back in time, is a gap. A source that was promoted and has everything
// that was read is not.
func TestWAL_Life(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	again := func(t *testing.T) {
		t.Helper()
		b.wait(t, "SELECT NOT active FROM pg_replication_slots")
		b.start(t, b.owner("app", stream.ModeWAL))
		b.mark(t, "app")
	}
	stop := b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	stop()
	b.Do(t, "UPDATE capture.stream SET system_id = '1'")
	stop = b.start(t, b.owner("app", stream.ModeWAL))
	require.Equal(t, []string{"cluster "}, b.gaps(t, "app"))
	stop()
	b.Do(t, "UPDATE capture.stream SET lsn = 'FF/0'")
	stop = b.start(t, b.owner("app", stream.ModeWAL))
	require.Equal(t, []string{"cluster ", "restore "}, b.gaps(t, "app"))
	b.mark(t, "app")
	stop()

	require.NoError(t, b.Server.Stop(t.Context(), pgserver.Fast))
	require.NoError(t, os.WriteFile(filepath.Join(b.Server.DataDir(), "standby.signal"), nil, 0o644))
	require.NoError(t, b.Server.Start(t.Context()))
	b.Reset() // The restart closed its connections.
	require.NoError(t, b.Server.Promote(t.Context()))
	again(t)
	require.Len(t, b.gaps(t, "app"), 2, "it was promoted, and has everything that was read")
	var timeline int
	require.NoError(t, b.QueryRow(t.Context(), "SELECT timeline FROM capture.stream").Scan(&timeline))
	require.Equal(t, 2, timeline)
}

// TestWAL_Lagged: a promoted follower that lacks the last changes that were read is a gap, even if it has written more than these in the
// meantime.
func TestWAL_Lagged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	stop := b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	stop()
	require.NoError(t, b.Server.Stop(t.Context(), pgserver.Fast))
	require.NoError(t, os.WriteFile(filepath.Join(b.Server.DataDir(), "standby.signal"), nil, 0o644))
	require.NoError(t, b.Server.Start(t.Context()))
	b.Reset() // The restart closed its connections.
	require.NoError(t, b.Server.Promote(t.Context()))
	// The position that was read on the old timeline is beyond the point where the new one left it, and the new one is now past that position.
	b.wait(t, "SELECT NOT pg_is_in_recovery()")
	b.Do(t, "INSERT INTO app.t VALUES (1)")
	b.Do(t, "UPDATE capture.stream SET lsn = pg_current_wal_insert_lsn()::text")
	b.Do(t, "INSERT INTO app.t VALUES (2)")
	b.wait(t, "SELECT pg_current_wal_flush_lsn() > lsn::pg_lsn FROM capture.stream")
	b.start(t, b.owner("app", stream.ModeWAL))
	require.Equal(t, []string{"restore "}, b.gaps(t, "app"))
}

// TestLife_Positions: a log that went back in time with its database never assigns a position twice: a sink would ignore the new change,
// because it already has the position. A reader skips over the missing positions.
func TestLife_Positions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		stop := b.start(t, b.owner(mode, mode))
		b.Do(t, "INSERT INTO app.t SELECT 1 + coalesce(max(id), 0) FROM app.t")
		b.mark(t, mode)
		stop()
		var position, last int64
		var lsn *string
		require.NoError(t, b.QueryRow(t.Context(), "SELECT position, lsn FROM capture.stream WHERE name = $1", mode).Scan(&position, &lsn))
		stop = b.start(t, b.owner(mode, mode))
		b.Do(t, "INSERT INTO app.t SELECT 1 + coalesce(max(id), 0) FROM app.t")
		b.mark(t, mode)
		if mode == stream.ModeWAL { // Wait until the server knows what was read.
			b.wait(t, "SELECT r.confirmed_flush_lsn > $1::pg_lsn FROM pg_replication_slots AS r", *lsn)
		}
		stop()
		require.NoError(t, b.QueryRow(t.Context(), "SELECT position FROM capture.stream WHERE name = $1", mode).Scan(&last))
		// Put the log back to that position, on another timeline.
		b.Do(t, "DELETE FROM capture.log AS l USING capture.stream AS s WHERE s.id = l.stream_id AND s.name = $1 AND l.position > $2", mode, position)
		b.Do(t, "UPDATE capture.stream SET position = $2, lsn = $3, timeline = CASE mode WHEN 'wal' THEN timeline ELSE timeline + 1 END WHERE name = $1", mode, position, lsn)
		b.start(t, b.owner(mode, mode))
		// Changes that are written before that belong to the gap.
		b.wait(t, `SELECT s.state = 'running' AND EXISTS (SELECT FROM capture.gap AS g WHERE g.stream_id = s.id)
			FROM capture.stream AS s WHERE s.name = $1`, mode)
		b.mark(t, mode)
		var first int64
		require.NoError(t, b.QueryRow(t.Context(), "SELECT min(l.position) FROM capture.log AS l INNER JOIN capture.stream AS s ON s.id = l.stream_id WHERE s.name = $1 AND l.position > $2",
			mode, position).Scan(&first))
		require.Greater(t, first, last)
		require.Len(t, b.gaps(t, mode), 1)

		_, upTo, err := log.Log{}.Read(t.Context(), b.DB.DB, log.Query{Stream: mode, After: position, Limit: 1})
		require.NoError(t, err)
		changes, _, err := log.Log{}.Read(t.Context(), b.DB.DB, log.Query{Stream: mode, After: upTo, Limit: 1})
		require.NoError(t, err)
		require.Len(t, changes, 1)
		require.Equal(t, first, changes[0].Position)
		page, err := log.Log{}.List(t.Context(), b.DB.DB, mode, log.Filter{}, log.Place{}, 100)
		require.NoError(t, err)
		older, err := log.Log{}.List(t.Context(), b.DB.DB, mode, log.Filter{}, page.Older, 100)
		require.NoError(t, err)
		require.Equal(t, position, older.Changes[0].Position)
		b.Do(t, "DELETE FROM app.t")
	}
}
