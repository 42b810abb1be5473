package load_test

import (
	"context"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/load"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestGovernor: a look tells what sessions of others do on a real server, and a governor follows it. It is one test, because a look is at the whole
// server.
func TestGovernor(t *testing.T) {
	t.Parallel()
	b := pgtest.Database(t, pgtest.Installed{})
	connect := func(options string) *pgx.Conn {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), b.URL+options)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	look := func() pace.Load {
		t.Helper()
		seen, err := load.Look(t.Context(), b.DB)
		require.NoError(t, err)
		return seen
	}

	seen := look()
	require.Zero(t, seen.Waiting)
	require.Positive(t, seen.WAL)
	require.Positive(t, seen.WALRate)
	require.Positive(t, seen.Took)

	locker, waiter, own := connect("&application_name=shop"), connect("&application_name=shop"), connect("&application_name=daymill%20worker")
	_, err := locker.Exec(t.Context(), "BEGIN; LOCK TABLE daymill.workers")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for _, conn := range []*pgx.Conn{waiter, own} {
		waiting.Go(func() { _, _ = conn.Exec(ctx, "TABLE daymill.workers") })
	}
	b.Wait(t, "2 = (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
	seen = look()
	require.Equal(t, 1, seen.Waiting, "Daymill's own session does not count")
	require.Positive(t, seen.Recent)
	require.Zero(t, seen.Hidden)

	b.Do(t, "CREATE ROLE governor_onlooker LOGIN; GRANT CONNECT ON DATABASE "+b.Name+" TO governor_onlooker")
	address, err := url.Parse(b.URL)
	require.NoError(t, err)
	address.User = url.User("governor_onlooker")
	onlooker, err := pgx.Connect(t.Context(), address.String())
	require.NoError(t, err)
	row, err := db.New(onlooker).PaceLoad(t.Context())
	require.NoError(t, err)
	require.Positive(t, row.Hidden)
	require.Zero(t, row.Waiting)
	require.NoError(t, onlooker.Close(t.Context()))
	cancel()
	waiting.Wait()
	_, err = locker.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)

	governor := load.Governor(b.DB, pace.SystemClock{}, 0.25)
	running, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { governor.Run(running) })
	t.Cleanup(func() { stop(); run.Wait() })
	require.InDelta(t, 1, governor.Pace(), 0, "nothing is known yet")
	working, rest := context.WithCancel(t.Context())
	t.Cleanup(rest)
	run.Go(func() {
		for working.Err() == nil {
			_, _ = locker.Exec(working, "SELECT pg_sleep(0.05)")
		}
	})
	require.Eventually(t, func() bool { return governor.Pace() >= 4 }, time.Minute, 50*time.Millisecond)
	rest()
	require.Eventually(t, func() bool { return governor.Pace() == 0.25 }, 2*time.Minute, 50*time.Millisecond)
	_, reason := governor.State()
	require.Equal(t, "nobody else uses the database", reason)
}
