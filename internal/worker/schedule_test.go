package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
)

// requestsAndRuns returns the numbers of requests and of runs by date.
func (b *testBundle) requestsAndRuns(t *testing.T) map[date.Date][2]int64 {
	t.Helper()
	rows, err := b.db.Query(t.Context(), `
		SELECT q.metric_date, count(*), (SELECT count(*) FROM analytics.rollup_runs AS r WHERE r.metric_date = q.metric_date)
		FROM analytics.rollup_requests AS q
		GROUP BY q.metric_date`)
	require.NoError(t, err)
	all := make(map[date.Date][2]int64)
	var d date.Date
	var counts [2]int64
	_, err = pgx.ForEachRow(rows, []any{&d, &counts[0], &counts[1]}, func() error {
		all[d] = counts
		return nil
	})
	require.NoError(t, err)
	return all
}

// dailyJobs returns how many daily jobs are done. A start may insert two: the leader's, and the reconciler's, which has found the schedule
// overdue.
func (b *testBundle) dailyJobs(t *testing.T) int64 {
	t.Helper()
	return pgtest.Value[int64](t, b.db, "SELECT count(*) FROM river_job WHERE kind = 'daily_rollup' AND state = 'completed'")
}

// awaitDailyJob returns once another daily job and the dates that it has requested are done.
func (b *testBundle) awaitDailyJob(t *testing.T, before int64) {
	t.Helper()
	b.db.Wait(t, "(SELECT count(*) > $1 FROM river_job WHERE kind = 'daily_rollup' AND state = 'completed')", before)
	b.requireQuiet(t)
}

// TestSevenDaysOff stops the worker for seven days. A single start then repairs the week, and requests no date twice.
func TestSevenDaysOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// Events on the first to the sixteenth, but none on the third and the twelfth.
	all := dates(16)
	without := map[date.Date]bool{all[2]: true, all[11]: true}
	for _, d := range all[:9] {
		if !without[d] {
			b.db.InsertDate(t, d, 50, 20)
		}
	}
	clock := newTestClock(at(day.AddDays(9), 3))
	with := func(config *worker.Config) { config.Clock = clock }

	want := map[date.Date][2]int64{}
	before := b.dailyJobs(t)
	first := b.start(t, with)
	b.awaitDailyJob(t, before)
	first.stop(t)
	for _, d := range all[:9] {
		if !without[d] {
			want[d] = [2]int64{1, 1}
		}
	}
	require.Equal(t, want, b.requestsAndRuns(t), "every date that has events, up to yesterday")
	require.EqualValues(t, 8*50, pgtest.RequireExact(t, b.db).Events)

	// Seven days later. The twelfth has no events.
	for _, d := range all[9:] {
		if !without[d] {
			b.db.InsertDate(t, d, 50, 20)
		}
	}
	clock.set(at(day.AddDays(16), 3))
	before = b.dailyJobs(t)
	second := b.start(t, with)
	b.awaitDailyJob(t, before)
	second.stop(t)
	for _, d := range all[9:] {
		if !without[d] {
			want[d] = [2]int64{1, 1}
		}
	}
	require.Equal(t, want, b.requestsAndRuns(t), "the seven missed dates except the one without events, once each")
	require.EqualValues(t, 14*50, pgtest.RequireExact(t, b.db).Events)

	// Another start on the same day requests nothing.
	clock.set(at(day.AddDays(16), 23))
	before = b.dailyJobs(t)
	third := b.start(t, with)
	b.awaitDailyJob(t, before)
	third.stop(t)
	require.Equal(t, want, b.requestsAndRuns(t))

	// The next day requests yesterday, although it has no events, and the two days before it.
	clock.set(at(day.AddDays(17), 3))
	before = b.dailyJobs(t)
	b.start(t, with)
	b.awaitDailyJob(t, before)
	want[day.AddDays(16)] = [2]int64{1, 1}
	want[all[15]], want[all[14]] = [2]int64{2, 2}, [2]int64{2, 2}
	require.Equal(t, want, b.requestsAndRuns(t))
}

// TestScheduleWithoutLeader: the elected leader is an application's own client, which does not know Daymill's periodic jobs. The reconciler notices
// that the daily job is overdue.
func TestScheduleWithoutLeader(t *testing.T) {
	t.Parallel()
	b := setup(t)
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[otherArgs]) error { return nil }))
	leader, err := river.NewClient(riverpgxv5.New(b.db.Application(t)), &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}, Workers: workers,
	})
	require.NoError(t, err)
	require.NoError(t, leader.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, leader.Stop(context.WithoutCancel(t.Context()))) })
	b.db.Wait(t, "EXISTS(SELECT FROM river_leader WHERE leader_id = $1)", leader.ID())

	b.db.InsertDate(t, day, 50, 20)
	clock := newTestClock(at(day.AddDays(1), 3))
	b.start(t, func(config *worker.Config) { config.Clock = clock; config.Lookback = 0 })
	b.awaitDailyJob(t, 0)
	require.Equal(t, map[date.Date][2]int64{day: {1, 1}}, b.requestsAndRuns(t))
	require.Equal(t, leader.ID(), pgtest.Value[string](t, b.db, "SELECT leader_id FROM river_leader"))
	pruned := "(SELECT count(*) = $1 FROM river_job WHERE kind = 'prune_ledger' AND state = 'completed')"
	b.db.Wait(t, pruned, 1)

	// It is overdue only after its hour and the grace.
	clock.set(at(day.AddDays(2), 2).Add(time.Minute))
	b.awaitLooks(t)
	require.Len(t, b.requestsAndRuns(t), 1)
	clock.set(at(day.AddDays(2), 2).Add(3 * time.Minute))
	b.awaitDailyJob(t, 1)
	require.Equal(t, map[date.Date][2]int64{day: {1, 1}, day.AddDays(1): {1, 1}}, b.requestsAndRuns(t))
	b.db.Wait(t, pruned, 2)
	clock.set(at(day.AddDays(2), 23))
	b.awaitLooks(t)
	require.EqualValues(t, 2, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM river_job WHERE kind = 'prune_ledger'"))
}

// otherArgs are the arguments of an application's own job.
type otherArgs struct{}

func (otherArgs) Kind() string { return "other" }

// TestSchedulePaused pauses the daily job, runs it by hand, and resumes it.
func TestSchedulePaused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db.InsertDate(t, day, 50, 20)
	require.NoError(t, schedule.Pause(t.Context(), b.db.DB, audit.Who{Via: "test"}))
	clock := newTestClock(at(day.AddDays(1), 3))
	process := b.start(t, func(config *worker.Config) { config.Clock = clock; config.Lookback = 0 })
	b.db.Wait(t, "EXISTS(SELECT FROM river_job WHERE kind = 'daily_rollup' AND metadata #>> '{output,skipped}' = 'the daily job is paused')")
	clock.set(at(day.AddDays(1), 4)) // Check again what is overdue.
	b.awaitLooks(t)
	b.requireQuiet(t)
	require.Empty(t, b.requestsAndRuns(t))

	done := b.dailyJobs(t)
	require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
		return errors.Join(jobs.EnqueueDailyRollup(t.Context(), tx, b.app), jobs.EnqueueDailyRollup(t.Context(), tx, b.app))
	}))
	b.awaitDailyJob(t, done)
	require.Equal(t, map[date.Date][2]int64{day: {1, 1}}, b.requestsAndRuns(t), "once, although it was requested twice")

	// The next day it requests nothing until it is resumed.
	clock.set(at(day.AddDays(2), 3))
	b.awaitLooks(t)
	require.Len(t, b.requestsAndRuns(t), 1)
	require.NoError(t, schedule.Resume(t.Context(), b.db.DB, audit.Who{Via: "test"}))
	done = b.dailyJobs(t)
	clock.set(at(day.AddDays(2), 4))
	b.awaitDailyJob(t, done)
	require.Equal(t, map[date.Date][2]int64{day: {1, 1}, day.AddDays(1): {1, 1}}, b.requestsAndRuns(t))
	process.stop(t)
}
