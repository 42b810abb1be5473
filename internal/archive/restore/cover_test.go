package restore_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/keeper"
	"github.com/daymill/daymill/internal/archive/restore"
	"github.com/daymill/daymill/internal/archive/retention"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestCover: a restore, with Daymill or with psql alone, has exactly what the database had, or is refused.
func TestCover(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_wal_senders": "30", "max_replication_slots": "30"})
	for name, test := range map[string]func(t *testing.T, b *testBundle){
		"BeforeGap":        beforeGap,
		"DeletedBeforeGap": deletedBeforeGap,
		"LateBase":         lateBase,
		"LaterThanAll":     laterThanAll,
		"LastMoment":       lastMoment,
		"PrunedScript":     prunedScript,
		"TwoKeepers":       twoKeepers,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &testBundle{server: server, db: application(t, server), clock: hastyClock{}}
			b.begin(t)
			b.psql(t, "-c", "CREATE TABLE t (i int)", "-c", "INSERT INTO t VALUES (1)")
			test(t, b)
		})
	}
}

// moment is a point to restore to, and what the database had then.
type moment struct {
	target chain.Target // with a position
	at     time.Time
	want   string
}

const rowsOfT = "SELECT coalesce(string_agg(i::text, ' ' ORDER BY i), '') FROM t"

func (b *testBundle) now(t *testing.T) (m moment) {
	t.Helper()
	m.target.LSN = b.position(t)
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&m.at))
	m.want = b.value(t, b.db.URL, rowsOfT)
	return m
}

const scriptTime = "2006-01-02T15:04:05.000000"

// exact restores a moment by position, by time and with the script.
func (b *testBundle) exact(t *testing.T, m moment) {
	t.Helper()
	require.Equal(t, m.want, b.value(t, b.restored(t, restore.Config{Target: m.target}), rowsOfT))
	require.Equal(t, m.want, b.value(t, b.restored(t, restore.Config{Target: chain.Target{Time: m.at}}), rowsOfT))
	for _, argument := range b.arguments(m) {
		into := b.fresh(t)
		b.script(t, into, argument)
		require.Equal(t, m.want, b.value(t, into, rowsOfT), argument)
	}
}

// arguments returns the forms of a moment that the script takes: with and without a zone, with more digits than Postgres has, and a position.
func (*testBundle) arguments(m moment) []string {
	return []string{
		m.at.UTC().Format(scriptTime), m.at.In(time.FixedZone("", 5*3600+1800)).Format("2006-01-02T15:04:05.000000-07:00"),
		m.at.UTC().Format(scriptTime) + "999Z", m.target.LSN.String(),
	}
}

// denied is exact for a moment that is not covered.
func (b *testBundle) denied(t *testing.T, m moment, position, time, script string) {
	t.Helper()
	_, err := restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: m.target})
	require.ErrorContains(t, err, position)
	_, err = restore.Run(t.Context(), restore.Config{Store: b.store, Into: b.fresh(t), Target: chain.Target{Time: m.at}})
	require.ErrorContains(t, err, time)
	into := b.fresh(t)
	require.Contains(t, b.refused(t, into, m.at.UTC().Format(scriptTime)), script)
	require.NotContains(t, b.refused(t, into, m.target.LSN.String()), "the restore did not finish")
	require.Equal(t, "true", b.value(t, into, "SELECT (to_regclass('t') IS NULL)::text"), "the script has restored something before it refused")
}

func (b *testBundle) loseSlot(t *testing.T) {
	t.Helper()
	dropped, err := keeper.Guard(t.Context(), b.config(), 1)
	require.NoError(t, err)
	require.True(t, dropped)
}

// beforeGap: what is before a gap can be restored, although the files go on after it.
func beforeGap(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.keep(t)
	m := b.now(t)
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	b.caughtUp(t)
	stop()
	b.loseSlot(t)
	stop = b.keep(t)
	b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && !c.Gapped() })
	b.psql(t, "-c", "INSERT INTO t VALUES (3)")
	b.caughtUp(t)
	stop()
	b.exact(t, m)
}

// lateBase: a base is being made when the slot is lost. Nobody begins a new chain before it is complete, and there is a gap after it, too.
func lateBase(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.keep(t)
	b.caughtUp(t)
	stop()
	b.loseSlot(t)
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	place := &gated{Place: b.store.Place, reached: make(chan struct{}), gate: make(chan struct{})}
	config := b.config()
	config.Store = store.New(place)
	done := make(chan error, 1)
	go func() {
		_, err := base.Take(t.Context(), config, "a test")
		done <- err
	}()
	<-place.reached
	_, err := base.Take(t.Context(), b.config(), "a test")
	require.ErrorIs(t, err, base.ErrBusy)
	b.psql(t, "-c", "INSERT INTO t VALUES (3)")
	m := b.now(t)
	looked := &lookedClock{}
	b.clock = looked
	keeping := b.keepSoon(t)
	require.Eventually(t, func() bool { return looked.times.Load() > 3 }, time.Minute, 10*time.Millisecond)
	require.Len(t, b.chain(t).Bases, 1)
	close(place.gate)
	require.NoError(t, <-done)
	b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 3 && !c.Gapped() })
	b.psql(t, "-c", "INSERT INTO t VALUES (4)")
	b.caughtUp(t)
	keeping()
	require.Len(t, b.chain(t).Gaps, 2)
	const gap = "the archive has a gap from"
	b.denied(t, m, gap, gap, gap)
	b.equal(t, b.restored(t, restore.Config{}))
}

// lookedClock counts how often somebody waits.
type lookedClock struct {
	hastyClock

	times atomic.Int64
}

func (c *lookedClock) Sleep(ctx context.Context, d time.Duration) error {
	c.times.Add(1)
	return c.hastyClock.Sleep(ctx, d)
}

// keepSoon runs a keeper until stop is called, and does not wait until it archives.
func (b *testBundle) keepSoon(t *testing.T, listeners ...telemetry.Listener) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	k := keeper.Keeper{Config: b.config(), Listeners: listeners}
	go func() { done <- k.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

// laterThanAll: the archive cannot know what was committed after its last transaction.
func laterThanAll(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.keep(t)
	b.caughtUp(t)
	stop()
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	m := b.now(t)
	b.denied(t, m, "the archive ends at", "the archive's last transaction is of", "the archive does not have all transactions before that time")
	_, err := base.Take(t.Context(), b.config(), "a test")
	require.NoError(t, err)
	b.psql(t, "-c", "INSERT INTO t VALUES (3)")
	later := b.now(t)
	b.denied(t, later, "the archive ends at", "the archive's last transaction is of", "the archive does not have all transactions before that time")
	stop = b.keep(t)
	b.caughtUp(t)
	stop()
	b.exact(t, m)
	b.exact(t, later)
}

// lastMoment: the time of the last transaction is covered, also if a gap begins there. In JSON it has no zeros at its end, which must not make it
// seem earlier.
func lastMoment(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.keep(t)
	b.caughtUp(t)
	stop()
	archive := b.chain(t)
	to, last := archive.Written()
	path := archive.OpenPath()
	whole := last.Add(time.Second).Truncate(time.Second)
	content := strings.ReplaceAll(read(t, path), last.Format(scriptTime), whole.Format(scriptTime))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	lsn, err := pglogrepl.ParseLSN(to)
	require.NoError(t, err)
	m := moment{target: chain.Target{LSN: lsn}, at: whole, want: b.value(t, b.db.URL, rowsOfT)}
	b.exact(t, m)
	codec, err := archive.Manifest.Codec()
	require.NoError(t, err)
	require.NoError(t, segment.Finish(t.Context(), b.store, codec))
	b.exact(t, m)
	b.loseSlot(t)
	stop = b.keepSoon(t)
	b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && !c.Gapped() })
	stop()
	require.Equal(t, whole, b.chain(t).Gaps[0].At)
	b.exact(t, m)
}

// prunedScript: transactions after an old base were pruned.
func prunedScript(t *testing.T, b *testBundle) {
	t.Helper()
	stop := b.run(t, 100)
	b.caughtUp(t)
	_, err := base.Take(t.Context(), b.config(), "a test")
	require.NoError(t, err)
	b.psql(t, "-c", "INSERT INTO t VALUES (2)")
	b.caughtUp(t)
	m := b.now(t)
	b.psql(t, "-c", "INSERT INTO t VALUES (3)")
	b.caughtUp(t)
	made, err := base.Take(t.Context(), b.config(), "a test")
	require.NoError(t, err)
	b.psql(t, "-c", "INSERT INTO t VALUES (4)")
	b.caughtUp(t)
	stop()
	b.exact(t, m)
	plan, err := retention.Prune(t.Context(), b.store, retention.Default(), made.At.Add(8*24*time.Hour))
	require.NoError(t, err)
	require.NotEmpty(t, plan.Segments)
	b.denied(t, m, "were pruned", "were pruned", "were pruned")
}

// twoKeepers: a second keeper does not begin a chain of its own while the first one makes the base of the new one.
func twoKeepers(t *testing.T, b *testBundle) {
	t.Helper()
	b.loseSlot(t)
	whole := b.store
	place := &gated{Place: b.store.Place, reached: make(chan struct{}), gate: make(chan struct{})}
	b.store = store.New(place)
	first := b.keepSoon(t)
	<-place.reached
	b.store = whole
	looked := &lookedClock{}
	b.clock = looked
	second := b.keepSoon(t)
	require.Eventually(t, func() bool { return looked.times.Load() > 5 }, time.Minute, 10*time.Millisecond)
	close(place.gate)
	b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && !c.Gapped() })
	first() // Its store has no directory, so it seals a segment only after minutes.
	b.caughtUp(t)
	second()
	archive := b.chain(t)
	require.Len(t, archive.Bases, 2)
	require.Len(t, archive.Gaps, 1)
	b.equal(t, b.restored(t, restore.Config{}))
}

// TestUnreadable: the server cannot read the WAL of the slot, because a file is missing. That is a gap, and a new chain begins.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical"})
	b := &testBundle{server: server, db: application(t, server), clock: hastyClock{}}
	b.begin(t)
	stop := b.keep(t)
	b.psql(t, "-c", "CREATE TABLE t (i int)", "-c", "INSERT INTO t VALUES (1)")
	b.caughtUp(t)
	stop()
	b.db.Wait(t, "NOT EXISTS (SELECT FROM pg_replication_slots WHERE active)")
	b.psql(t, "-c", "INSERT INTO t VALUES (2)", "-c", "SELECT pg_switch_wal()", "-c", "CHECKPOINT")
	file := pgtest.Column[string](t, b.db, "SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots")[0]
	require.NoError(t, server.Stop(t.Context(), pgserver.Fast))
	require.NoError(t, os.Remove(filepath.Join(server.DataDir(), "pg_wal", file)))
	require.NoError(t, server.Start(t.Context()))
	b.db.Reset()
	stop = b.keepSoon(t, &errorsHeard{})
	b.eventually(t, func(c chain.Chain) bool { return len(c.Bases) == 2 && len(c.Gaps) == 1 && !c.Gapped() })
	b.psql(t, "-c", "INSERT INTO t VALUES (3)")
	b.caughtUp(t)
	stop()
	b.equal(t, b.restored(t, restore.Config{}))
}
