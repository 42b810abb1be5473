package run_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/slice"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// More entities at one instant than a slice of denseCounts may have counts: at any speed of the machine, they cannot be divided by time.
const (
	denseCounts   = slice.DefaultCounts * 2 / 5
	denseEvents   = 96_000
	denseEntities = 84_000
	spreadEvents  = 6_000
	allEvents     = denseEvents + spreadEvents
)

// insertDense fills the date: most of its events at one instant, as dates without a time of day have it, and some all over
// the date.
func (b *testBundle) insertDense(t *testing.T) {
	t.Helper()
	b.runner.Options.SliceCounts = denseCounts
	b.db.InsertInstant(t, atNoon(t, b), denseEvents, denseEntities)
	b.db.InsertDate(t, day, spreadEvents, 500)
	_, err := b.db.Exec(t.Context(), "ANALYZE public.raw_events")
	require.NoError(t, err)
}

// rollupDense runs the date, compares the result with a recount, and checks the bounds of how it was read.
func (b *testBundle) rollupDense(t *testing.T) run.Report {
	t.Helper()
	figures := b.rollup(t, day)
	require.EqualValues(t, allEvents, figures.Events)
	require.EqualValues(t, allEvents, pgtest.RequireExact(t, b.db).Events)
	// A fetch reads 20,000 events at most.
	require.GreaterOrEqual(t, figures.Fetches, denseEvents/20_000*figures.Passes)
	return figures
}

func TestRunDense(t *testing.T) {
	t.Parallel()
	bigint, text, uuid := installations[0], installations[1], installations[2]

	t.Run("AllAtOneInstant", func(t *testing.T) {
		t.Parallel()
		const events, entities = 240_000, 210_000 // Too many for slices of slice.DefaultCounts.
		b := setup(t, bigint)
		b.db.InsertInstant(t, atNoon(t, b).Add(-12*time.Hour), events, entities)
		figures := b.rollup(t, day)
		require.EqualValues(t, events, pgtest.RequireExact(t, b.db).Events)
		require.GreaterOrEqual(t, figures.Fetches, events/20_000)
		again := b.rollup(t, day)
		require.Zero(t, again.Inserted+again.Updated+again.Deleted)
	})

	t.Run("BRIN", func(t *testing.T) {
		t.Parallel()
		b := setup(t, bigint)
		_, err := b.db.Exec(t.Context(), `DROP INDEX public.raw_events_created_at;
			CREATE INDEX ON public.raw_events USING brin (created_at)`)
		require.NoError(t, err)
		b.insertDense(t)
		b.rollupDense(t)
	})

	t.Run("Follower", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Server(t, nil)
		conn := pgtest.On(t, server, bigint)
		conn.RawEvents(t)
		follower, err := server.Follower(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, follower.Close()) })
		b := &testBundle{db: conn, runner: newRunner(conn, "test")}
		b.insertDense(t)
		reader, err := postgres.Open(t.Context(), postgres.Config{URL: follower.URL(conn.Name)})
		require.NoError(t, err)
		t.Cleanup(reader.Close)
		b.runner.Source = reader
		b.rollupDense(t)
	})

	// Neighbors in the table are neighbors in key order, so a pass needs nothing from most stretches.
	t.Run("InKeyOrder", func(t *testing.T) {
		t.Parallel()
		b := setup(t, bigint)
		b.runner.Options.SliceCounts = denseCounts
		_, err := b.db.Exec(t.Context(), `INSERT INTO public.raw_events (entity_id, event_type, created_at)
			SELECT i, 'view', $1 FROM generate_series(1, $2::integer) AS i`, atNoon(t, b), denseEvents)
		require.NoError(t, err)
		b.db.InsertDate(t, day, spreadEvents, 500)
		b.runner.Options.MaxEntities = 24_000
		require.Greater(t, b.rollupDense(t).Passes, 4)
	})

	t.Run("Passes", func(t *testing.T) {
		t.Parallel()
		b := setup(t, uuid)
		b.insertDense(t)
		b.runner.Options.MaxEntities = 16_000
		require.Greater(t, b.rollupDense(t).Passes, 6)
	})

	t.Run("Pooler", func(t *testing.T) {
		t.Parallel()
		b := setup(t, text)
		b.insertDense(t)
		pooled, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.PgBouncer(t, b.db)})
		require.NoError(t, err)
		t.Cleanup(pooled.Close)
		require.True(t, pooled.Pooled())
		b.runner.Primary, b.runner.Source = pooled, pooled
		b.runner.Options.MaxEntities = 60_000
		require.Greater(t, b.rollupDense(t).Passes, 1)
	})
}

// transactions returns how many other transactions are open in the test's database.
func (b *testBundle) transactions(ctx context.Context, t *testing.T) (open int) {
	t.Helper()
	err := b.db.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()`).Scan(&open)
	require.NoError(t, err)
	return open
}

// testClock is the machine's clock, set forward by ahead. Instead of sleeping, it calls slept.
type testClock struct {
	pace.SystemClock

	ahead time.Duration
	slept func(ctx context.Context, d time.Duration)
}

func (c *testClock) Now() time.Time { return c.SystemClock.Now().Add(c.ahead) }

func (c *testClock) Sleep(ctx context.Context, d time.Duration) error {
	c.slept(ctx, d)
	return context.Cause(ctx)
}

func TestRunDenseInterrupted(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.insertDense(t)
	b.runner.Options.MaxEntities = 36_000
	b.request(t, day)
	broken := b.interruptAt(t, func(f run.Report) bool { return f.Passes == 2 && f.Phase == run.PhaseScan && f.Fetches%4 == 2 })
	require.Zero(t, b.transactions(t.Context(), t))
	require.Equal(t, "retrying", b.state(t, day))
	require.Positive(t, broken.Inserted)

	rest, err := b.runner.Run(t.Context(), run.Order{Date: day})
	require.NoError(t, err)
	recount := pgtest.RequireExact(t, b.db)
	require.EqualValues(t, allEvents, recount.Events)
	require.Equal(t, recount.Rows, broken.Inserted+rest.Inserted, "nothing should be published twice")
}

// The pause for a cursor's reads comes after the end of its transaction.
func TestRunDensePauses(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.insertDense(t)
	pauses := 0
	b.runner.Clock = &testClock{slept: func(ctx context.Context, d time.Duration) {
		pauses++
		require.LessOrEqual(t, d, 10*time.Second)
		require.Zero(t, b.transactions(ctx, t), "no transaction should be open during a pause")
	}}
	b.runner.Options.Pace = pace.Fixed(1)
	b.rollupDense(t)
	require.Positive(t, pauses)
}

// A run gives signs of life while its own connection is busy with a cursor, and notices there that it was replaced.
func TestRunDenseSignsOfLife(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.insertDense(t)
	clock := &testClock{}
	b.runner.Clock = clock
	b.request(t, day)
	seen := 0
	fetches := func(f run.Report) bool {
		if f.Phase != run.PhaseScan || f.Fetches == seen {
			return false
		}
		seen = f.Fetches
		clock.ahead += 2 * time.Second
		return true
	}
	silent := "UPDATE analytics.rollup_dates SET heartbeat_at = now() - interval '20 seconds'"
	_, err := b.runner.Run(t.Context(), run.Order{Date: day, Progress: func(f run.Report) {
		if !fetches(f) {
			return
		}
		if seen > 1 {
			var alive bool
			err := b.db.QueryRow(t.Context(), "SELECT heartbeat_at > now() - interval '15 seconds' FROM analytics.rollup_dates").Scan(&alive)
			require.NoError(t, err)
			require.True(t, alive)
		}
		if seen < 4 {
			require.Equal(t, 1, b.transactions(t.Context(), t), "the cursor's")
		}
		_, err := b.db.Exec(t.Context(), silent)
		require.NoError(t, err)
	}})
	require.NoError(t, err)
	require.GreaterOrEqual(t, seen, 4)
	require.EqualValues(t, allEvents, pgtest.RequireExact(t, b.db).Events)

	seen = 0
	b.request(t, day)
	_, err = b.runner.Run(t.Context(), run.Order{Date: day, Progress: func(f run.Report) {
		if fetches(f) && seen == 2 {
			_, err := b.db.Exec(t.Context(), "UPDATE analytics.rollup_dates SET run_id = run_id + 1")
			require.NoError(t, err)
		}
	}})
	require.ErrorIs(t, err, lease.ErrFenced)
	require.Equal(t, 2, seen)
	require.Zero(t, b.transactions(t.Context(), t))
}
