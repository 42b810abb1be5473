package restore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/retention"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/stream"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// filler makes the WAL longer.
const filler = "CREATE TABLE filler AS SELECT i, repeat('x', 500) AS v FROM generate_series(1, %d) AS i"

// TestOlder: the database becomes an older copy of its disk, whose WAL is shorter than the archive or longer. What was archived is not mixed
// with what is written from then on.
func TestOlder(t *testing.T) {
	t.Parallel()
	for name, copied := range map[string][]string{
		"Shorter": nil,
		"Longer":  {"-c", "INSERT INTO t VALUES (3)", "-c", fmt.Sprintf(filler, 15000)},
		"Quiet":   {"-c", "SELECT pg_switch_wal()", "-c", "CHECKPOINT", "-c", "SELECT pg_switch_wal()", "-c", "CHECKPOINT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupAlone(t)
			backup := filepath.Join(t.TempDir(), "backup")
			replace := func(from, to string) {
				t.Helper()
				pgtest.Replace(t, b.server, from, to)
				b.db.Reset()
			}
			stop := b.keep(t)
			b.psql(t, "-c", "INSERT INTO t VALUES (1)")
			b.caughtUp(t)
			stop()
			replace(b.server.DataDir(), backup)
			stop = b.keep(t)
			b.psql(t, "-c", "INSERT INTO t VALUES (2)")
			m := b.now(t)
			b.psql(t, "-c", fmt.Sprintf(filler, 5000))
			b.caughtUp(t)
			stop()
			replace(backup, b.server.DataDir())
			if copied != nil {
				b.psql(t, copied...)
				// A copy that is only looked at keeps its position.
				const confirmed = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots"
				before := b.value(t, b.db.URL, confirmed)
				for range 2 {
					err := stream.Run(t.Context(), stream.Config{Source: b.db.DB, URL: b.db.URL, Store: b.store, Clock: pace.SystemClock{}})
					require.ErrorIs(t, err, stream.ErrOlder)
				}
				require.Equal(t, before, b.value(t, b.db.URL, confirmed))
			}
			heard := &errorsHeard{}
			stop = b.keepSoon(t, heard)
			require.Eventually(t, func() bool { return strings.Contains(heard.all(), "the database is older than its archive") }, time.Minute, 10*time.Millisecond)
			if copied == nil {
				b.db.Wait(t, "NOT EXISTS (SELECT FROM pg_replication_slots)")
				b.psql(t, "-c", "INSERT INTO t VALUES (3)", "-c", fmt.Sprintf(filler, 15000))
			}
			b.gapped(t, "the database is older than its archive")
			b.psql(t, "-c", "INSERT INTO t VALUES (4)")
			b.caughtUp(t)
			stop()
			archive := b.chain(t)
			_, err := archive.Verify(t.Context())
			require.NoError(t, err)
			b.equal(t, b.restored(t, restore.Config{}))
			b.exact(t, m)
		})
	}
}

// TestOlder_Pruned: pruning keeps what the archive knows of its last transaction, by which an older copy of the database is noticed.
func TestOlder_Pruned(t *testing.T) {
	t.Parallel()
	b := setupAlone(t)
	backup := filepath.Join(t.TempDir(), "backup")
	stop := b.keep(t)
	b.psql(t, "-c", "INSERT INTO t VALUES (1)")
	b.caughtUp(t)
	stop()
	pgtest.Replace(t, b.server, b.server.DataDir(), backup)
	b.db.Reset()
	stop = b.keep(t)
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	b.caughtUp(t)
	stop()
	archive := b.chain(t)
	codec, err := archive.Manifest.Codec()
	require.NoError(t, err)
	require.NoError(t, segment.Finish(t.Context(), b.store, codec))
	made, err := base.Take(t.Context(), b.config(), "a test")
	require.NoError(t, err)
	_, err = retention.Prune(t.Context(), b.store, retention.Default(), made.At.Add(8*24*time.Hour))
	require.NoError(t, err)
	b.equal(t, b.restored(t, restore.Config{}))
	pgtest.Replace(t, b.server, backup, b.server.DataDir())
	b.db.Reset()
	b.psql(t, "-c", "INSERT INTO t VALUES (3)", "-c", fmt.Sprintf(filler, 5000))
	heard := &errorsHeard{}
	stop = b.keepSoon(t, heard)
	require.Eventually(t, func() bool { return strings.Contains(heard.all(), stream.ErrOlder.Error()) }, time.Minute, 10*time.Millisecond)
	stop()
}

// TestOlder_AfterGap: an older copy of the database is from before a gap, after which nothing was archived yet.
func TestOlder_AfterGap(t *testing.T) {
	t.Parallel()
	b := setupAlone(t)
	backup := filepath.Join(t.TempDir(), "backup")
	stop := b.keep(t)
	b.psql(t, "-c", "INSERT INTO t VALUES (1)")
	b.caughtUp(t)
	stop()
	pgtest.Replace(t, b.server, b.server.DataDir(), backup)
	b.db.Reset()
	b.loseSlot(t)
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	stop = b.keepSoon(t)
	b.gapped(t, "is gone")
	stop()
	pgtest.Replace(t, b.server, backup, b.server.DataDir())
	b.db.Reset()
	b.psql(t, "-c", "INSERT INTO t VALUES (3)", "-c", fmt.Sprintf(filler, 5000))
	heard := &errorsHeard{}
	stop = b.keepSoon(t, heard)
	require.Eventually(t, func() bool { return strings.Contains(heard.all(), stream.ErrOlder.Error()) }, time.Minute, 10*time.Millisecond)
	b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 3 && !c.Gapped() })
	b.psql(t, "-c", "INSERT INTO t VALUES (4)")
	b.caughtUp(t)
	stop()
	b.equal(t, b.restored(t, restore.Config{}))
}

// TestIdlePosition: an idle stream has written a position that the server then lost in a crash. A new transaction before that position is not
// taken for one that is already archived.
func TestIdlePosition(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) (*testBundle, chain.Chain) {
		t.Helper()
		b := setupAlone(t)
		stop := b.keep(t)
		b.psql(t, "-c", "INSERT INTO t VALUES (1)")
		b.caughtUp(t)
		stop()
		archive := b.chain(t)
		file, err := os.OpenFile(archive.OpenPath(), os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = fmt.Fprintf(file, "-- at %s 2026-01-01T00:00:00.000000Z\n", segment.LSN(b.position(t)+100_000))
		require.NoError(t, err)
		require.NoError(t, file.Close())
		return b, archive
	}

	t.Run("Open", func(t *testing.T) {
		t.Parallel()
		b, _ := setup(t)
		stop := b.keep(t)
		b.psql(t, "-c", "INSERT INTO t VALUES (2)")
		b.caughtUp(t)
		stop()
		archive := b.chain(t)
		require.Empty(t, archive.Gaps)
		b.equal(t, b.restored(t, restore.Config{}))
	})

	// A sealed segment is not changed: the transaction is in a new base.
	t.Run("Sealed", func(t *testing.T) {
		t.Parallel()
		b, archive := setup(t)
		codec, err := archive.Manifest.Codec()
		require.NoError(t, err)
		require.NoError(t, segment.Finish(t.Context(), b.store, codec))
		stop := b.keep(t)
		b.psql(t, "-c", "INSERT INTO t VALUES (2)")
		b.db.Wait(t, "NOT EXISTS (SELECT FROM pg_replication_slots)")
		b.psql(t, "-c", fmt.Sprintf(filler, 1000))
		b.gapped(t, "the database is older than its archive")
		b.psql(t, "-c", "INSERT INTO t VALUES (3)")
		b.caughtUp(t)
		stop()
		b.equal(t, b.restored(t, restore.Config{}))
	})
}

// handover is a clock whose first sleep lets the other reader archive something and stop.
type handover struct {
	pace.SystemClock

	other func()
}

func (c *handover) Sleep(ctx context.Context, d time.Duration) error {
	if c.other != nil {
		c.other()
		c.other = nil
	}
	return c.SystemClock.Sleep(ctx, d)
}

// TestHandover: while a reader waits for the slot, the other one archives a transaction and stops. The transaction stays in the archive.
func TestHandover(t *testing.T) {
	t.Parallel()
	b := setupAlone(t)
	stop := b.run(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	started, done := make(chan struct{}), make(chan error, 1)
	clock := &handover{other: func() {
		b.psql(t, "-c", "INSERT INTO t VALUES (1)")
		b.caughtUp(t)
		stop()
	}}
	go func() {
		done <- stream.Run(ctx, stream.Config{
			Source: b.db.DB, URL: b.db.URL, Store: b.store, Clock: clock, Started: func() { close(started) },
		})
	}()
	select {
	case <-started:
	case err := <-done:
		require.NoError(t, err)
	}
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	b.caughtUp(t)
	cancel()
	require.NoError(t, <-done)
	require.Nil(t, clock.other, "the second reader has waited for the slot")
	b.equal(t, b.restored(t, restore.Config{}))
}

// setupAlone returns an archive of a database with the table t, in a cluster of its own.
func setupAlone(t *testing.T) *testBundle {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	b := &testBundle{server: server, db: application(t, server), clock: hastyClock{}}
	b.psql(t, "-c", "CREATE TABLE t (i int)")
	b.begin(t)
	return b
}

// gapped waits until a new chain has begun after a gap with that reason.
func (b *testBundle) gapped(t *testing.T, reason string) {
	t.Helper()
	b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && !c.Gapped() })
	archive := b.chain(t)
	require.Len(t, archive.Gaps, 1)
	require.Contains(t, archive.Gaps[0].Reason, reason)
}
