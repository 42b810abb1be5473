package worker_test

import (
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
)

// machineClock is the clock of a machine that is wrong by an offset.
type machineClock struct {
	pace.SystemClock

	ahead time.Duration
}

func (c machineClock) Now() time.Time { return c.SystemClock.Now().Add(c.ahead) }

const tenDays = 10 * 24 * time.Hour

// TestWorkerClock: a worker whose machine's clock is wrong uses Postgres's clock, and reports that.
func TestWorkerClock(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"Ahead": tenDays, "Behind": -tenDays} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			today := pgtest.Today(t, b.db.Installation.Zone)
			b.db.InsertDate(t, today.AddDays(-1), 100, 10)
			b.db.InsertDate(t, today, 100, 10)
			b.start(t, func(config *worker.Config) { config.Machine = machineClock{ahead: ahead} })
			b.db.Wait(t, `SELECT state = 'complete' FROM analytics.date_states WHERE metric_date = $1`, today.AddDays(-1))
			b.db.Wait(t, `SELECT trouble LIKE '%240h0m%s %Postgres%' FROM daymill.workers`)
			b.db.Wait(t, `SELECT count(*) = 3 FROM daymill.schedules WHERE last_due_at <= now() AND last_run_at IS NOT NULL`)
			require.False(t, pgtest.Value[bool](t, b.db, `SELECT EXISTS(SELECT FROM analytics.rollup_dates WHERE metric_date >= $1)`, today))
			require.False(t, pgtest.Value[bool](t, b.db, `SELECT EXISTS(SELECT FROM daymill.jobs WHERE scheduled_at > now() + interval '1 day' OR attempted_at > now())`))
			require.False(t, pgtest.Value[bool](t, b.db, `SELECT EXISTS(SELECT FROM `+"public.river_leader"+`)`))
			pgtest.RequireExact(t, b.db, today.AddDays(-1))
		})
	}
}

// TestWorkerClockWasAhead: a worker whose clock is right repairs what a worker whose clock was ahead has done.
func TestWorkerClockWasAhead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	today := pgtest.Today(t, b.db.Installation.Zone)
	yesterday := today.AddDays(-1)
	b.db.InsertDate(t, yesterday, 100, 10)
	for _, args := range []river.JobArgs{jobs.DailyRollupArgs{}, jobs.VerifyDatesArgs{}, jobs.PruneLedgerArgs{}} {
		_, err := b.app.Insert(t.Context(), args, &river.InsertOpts{ScheduledAt: time.Now().Add(tenDays)})
		require.NoError(t, err)
	}
	b.db.Do(t, `INSERT INTO daymill.schedules (name, last_due_at, last_run_at)
		SELECT k, now() + interval '10 days', now() FROM unnest(ARRAY['daily_rollup', 'verify_dates', 'prune_ledger']) AS k`)
	b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, complete_run_id, completed_at, events, entities)
		VALUES ($1, 'complete', 1, 1, 1, analytics.date_start($1) + interval '1 hour', 7, 7)`, yesterday)
	b.db.Do(t, `INSERT INTO `+"public.river_job"+` (kind, queue, state, args, max_attempts, attempt, scheduled_at, metadata, errors)
		VALUES ('rollup_day', 'daymill', 'retryable', jsonb_build_object('date', ($1::date - 5)::text), 10, 1, now() + interval '10 days',
			'{"daymill": "request"}', ARRAY['{}'::jsonb])`, yesterday)
	b.db.Do(t, `SELECT analytics.enqueue_rollup($1)`, yesterday.AddDays(-5))
	b.start(t, func(config *worker.Config) { config.Machine = pace.SystemClock{} })
	b.db.Wait(t, `SELECT count(*) = 3 FROM daymill.schedules WHERE last_due_at <= now()`)
	b.db.Wait(t, `SELECT state = 'complete' AND events = 100 FROM analytics.date_states WHERE metric_date = $1`, yesterday)
	b.db.Wait(t, `SELECT state = 'complete' FROM analytics.date_states WHERE metric_date = $1`, yesterday.AddDays(-5))
	require.False(t, pgtest.Value[bool](t, b.db, `SELECT EXISTS(SELECT FROM daymill.jobs WHERE state <> 'completed' AND scheduled_at > now() + interval '2 days')`))
}

// TestWorkerFollowerTrouble: a worker that reads from a follower reports that the follower does not follow or does not answer.
func TestWorkerFollowerTrouble(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := pgtest.Database(t, pgtest.Installed{})
	source, err := postgres.Open(t.Context(), postgres.Config{URL: other.URL})
	require.NoError(t, err)
	t.Cleanup(source.Close)
	b.start(t, func(config *worker.Config) { config.Machine, config.Source = pace.SystemClock{}, source })
	b.db.Wait(t, `SELECT trouble LIKE '%not a follower of the database%' FROM daymill.workers`)
}

func TestWorkerStandby(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, nil)
	conn := pgtest.On(t, server, pgtest.Installed{})
	follower, err := server.Follower(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, follower.Close()) })
	standby, err := postgres.Open(t.Context(), postgres.Config{URL: follower.URL(conn.Name)})
	require.NoError(t, err)
	t.Cleanup(standby.Close)
	// The number of workers and the logger have defaults.
	process, err := worker.NewWorker(worker.Config{DB: standby, Installation: conn.Installation, Name: "standby"})
	require.NoError(t, err)
	require.ErrorIs(t, process.Run(t.Context()), postgres.ErrStandby)
}
