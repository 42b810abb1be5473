package worker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
)

// TestAskDaily enqueues the daily job repeatedly, as a scheduler other than River does.
func TestAskDaily(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin, err := worker.NewAdmin(b.db.DB, b.db.Installation)
	require.NoError(t, err)
	ask := func() {
		for enqueued := false; !enqueued; { // The job of the worker's start may still be waiting.
			done := b.dailyJobs(t)
			var err error
			enqueued, err = admin.AskDaily(t.Context(), audit.Who{Actor: "cron", Via: audit.ViaCron})
			require.NoError(t, err)
			b.awaitDailyJob(t, done)
		}
	}
	b.db.InsertDate(t, day, 50, 20)
	clock := newTestClock(at(day.AddDays(1), 3))
	b.start(t, func(config *worker.Config) { config.Clock = clock; config.Lookback = 2 })
	b.awaitDailyJob(t, 0)
	want := map[date.Date][2]int64{day: {1, 1}, day.AddDays(-1): {1, 1}, day.AddDays(-2): {1, 1}}
	require.Equal(t, want, b.requestsAndRuns(t))

	// The lookback days are requested only once a day, however often AskDaily is called.
	ask()
	ask()
	require.Equal(t, want, b.requestsAndRuns(t))

	// A date that has events now and is not complete is requested.
	gap := day.AddDays(-5)
	b.db.InsertDate(t, gap, 30, 10)
	ask()
	ask()
	want[gap] = [2]int64{1, 1}
	require.Equal(t, want, b.requestsAndRuns(t))
	pgtest.RequireExact(t, b.db)
	require.EqualValues(t, 4, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM daymill.audit WHERE actor = 'cron' AND via = 'cron' AND action = 'run schedule'"))

	// A paused schedule is paused for every scheduler.
	require.NoError(t, schedule.Pause(t.Context(), b.db.DB, audit.Who{Via: "test"}))
	b.db.InsertDate(t, day.AddDays(-6), 30, 10)
	ask()
	require.Equal(t, want, b.requestsAndRuns(t))
}
