package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
)

// TestWorkersSeen: worker processes are in the ledger while they are alive.
func TestWorkersSeen(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	// Two that crashed: one within the last week, and one before.
	b.db.Do(t, `INSERT INTO daymill.workers (name, last_seen_at, version, workers, pace, max_entities, daily_hour, lookback,
			retention_seconds, follower)
		SELECT name, now() - ago, '', 1, 1, 1, 0, 0, 0, false
		FROM (VALUES ('ancient', interval '169 hours'), ('killed', interval '3 minutes')) AS w (name, ago)`)
	started := time.Now()
	process := b.start(t, func(config *worker.Config) {
		config.Name, config.Version, config.Workers, config.Pace = "one", "v1.2.3", 3, 0.5
		config.DailyHour, config.Lookback, config.MaxEntities, config.Retention = 4, 5, 6, time.Hour
	})
	b.db.Wait(t, "EXISTS(SELECT FROM daymill.workers WHERE name = 'one')")
	b.db.Wait(t, "NOT EXISTS(SELECT FROM daymill.workers WHERE name = 'ancient')")
	alive, err := presence.List(t.Context(), b.db, presence.Alive)
	require.NoError(t, err)
	require.Len(t, alive, 1)
	require.WithinRange(t, alive[0].StartedAt, started.Add(-time.Second), time.Now().Add(time.Second))
	require.Equal(t, presence.Worker{
		Name: "one", StartedAt: alive[0].StartedAt, LastSeenAt: alive[0].LastSeenAt, Version: "v1.2.3", Workers: 3, Pace: 0.5,
		MaxEntities: 6, DailyHour: 4, Lookback: 5, Retention: time.Hour,
	}, alive[0])

	// Half a minute later it reports again.
	process.clock.set(time.Now().Add(31 * time.Second))
	b.db.Wait(t, "EXISTS(SELECT FROM daymill.workers WHERE name = 'one' AND last_seen_at > $1)", alive[0].LastSeenAt)
	require.Equal(t, alive[0].StartedAt, pgtest.Value[time.Time](t, b.db, "SELECT started_at FROM daymill.workers WHERE name = 'one'"))

	process.stop(t)
	require.Equal(t, []string{"killed"}, pgtest.Column[string](t, b.db, "SELECT name FROM daymill.workers"))
}

// TestWorkersSeen_Governor: a worker's governor decides its pace, and the ledger says which it is and why.
func TestWorkersSeen_Governor(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.InsertDate(t, dates(1)[0], 100, 20)
	process := b.start(t, func(config *worker.Config) {
		config.Pace, config.Governor = 0.5, pace.NewGovernor(pace.SystemClock{}, 0.5, func(context.Context) (pace.Load, error) {
			return pace.Load{Recent: 3}, nil
		})
	})
	b.db.Wait(t, "EXISTS(SELECT FROM daymill.workers WHERE pace = 0.5 AND current_pace = 1 AND pace_reason = 'the database has not been looked at yet')")
	started := time.Now()
	for now := started; !pgtest.Value[bool](t, b.db, "SELECT EXISTS(SELECT FROM daymill.workers WHERE current_pace = 4 AND pace_reason = '3 sessions of others are at work')"); {
		require.Less(t, time.Since(started), 5*time.Minute, "the governor is not asked")
		b.request(t, dates(1)...)
		b.awaitDone(t)
		now = now.Add(31 * time.Second)
		process.clock.set(now)
	}
}
