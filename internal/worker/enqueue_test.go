package worker_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/jobs"
)

func TestEnqueueDay(t *testing.T) {
	t.Parallel()

	t.Run("Refuses", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		today := pgtest.Today(t, time.UTC)
		for name, test := range map[string]struct {
			first, last date.Date
			message     string
		}{
			"Future":   {today.AddDays(1), today.AddDays(1), "is in the future: today is " + today.String()},
			"Missing":  {date.Date{}, date.Date{}, "a date is missing"},
			"Reversed": {day, day.AddDays(-1), "the range 2026-03-01..2026-02-28 is reversed"},
			"TooLong":  {day.AddDays(-3660), day, "has 3661 dates, more than 3660"},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				tx, err := b.db.Begin(t.Context())
				require.NoError(t, err)
				defer tx.Rollback(t.Context()) //nolint:errcheck // The error does not matter.
				require.ErrorContains(t, jobs.EnqueueRange(t.Context(), tx, b.app, test.first, test.last), test.message)
			})
		}
	})

	t.Run("Today", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		today := pgtest.Today(t, time.UTC)
		b.start(t)
		require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
			if err := jobs.EnqueueDay(t.Context(), tx, b.app, today); err != nil {
				return err
			}
			_, err := b.app.InsertTx(t.Context(), tx, jobs.RollupDayArgs{Date: today}, nil)
			return err
		}))
		b.db.Wait(t, "EXISTS(SELECT FROM river_job WHERE kind = 'rollup_day' AND state = 'completed')")
		b.awaitLooks(t)
		require.Equal(t, []string{"open", "open"}, b.resolutions(t, today), "the requests wait until the date is over")
		require.Equal(t, []string{"completed"}, b.jobStates(t, today))
		require.Zero(t, b.runs(t))
	})
}

// pauseQueue prevents workers from taking dates.
func (b *testBundle) pauseQueue(t *testing.T) {
	t.Helper()
	b.db.Do(t, "INSERT INTO river_queue (name, paused_at, created_at, updated_at) VALUES ($1, now(), now(), now())", jobs.QueueRollup)
}

// TestEnqueueRange requests ten years in one call. The reconciler makes a job for each date, but only as many at a time as fill a queue.
func TestEnqueueRange(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.pauseQueue(t)
	b.start(t)
	const count = 3650
	first := day.AddDays(1 - count)
	for range 2 {
		require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
			return jobs.EnqueueRange(t.Context(), tx, b.app, first, day)
		}))
	}
	require.EqualValues(t, 2*count, b.openRequests(t))
	jobsOf := "SELECT count(DISTINCT args ->> 'date') = $1 AND count(*) = $1 FROM river_job WHERE kind = 'rollup_day'"
	for !pgtest.Value[bool](t, b.db, jobsOf, count) {
		b.awaitLooks(t)
		require.LessOrEqual(t, pgtest.Value[int](t, b.db, "SELECT count(*) FROM river_job WHERE kind = 'rollup_day' AND state = 'available'"), 500)
		b.db.Do(t, "UPDATE river_job SET state = 'running' WHERE kind = 'rollup_day' AND state = 'available'")
	}
	b.awaitLooks(t)
	require.True(t, pgtest.Value[bool](t, b.db, jobsOf, count), "a job was inserted twice")
	require.Equal(t, []string{"running"}, b.jobStates(t, first))
	require.Equal(t, []string{"running"}, b.jobStates(t, day))
}

// TestUnique requests a date many times in every way before a run begins, and gets one job and one run.
func TestUnique(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.InsertDate(t, day, 100, 40)
	require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
		for range 3 {
			for _, ask := range asks() {
				ask(t, b, tx, day)
			}
		}
		return nil
	}))
	b.start(t)
	b.start(t)
	b.awaitDone(t)
	require.Equal(t, []string{"completed"}, b.jobStates(t, day))
	require.EqualValues(t, 1, b.runs(t))
	require.Len(t, b.resolutions(t, day), 9)
	require.EqualValues(t, 100, pgtest.RequireExact(t, b.db).Events)
	b.requireQuiet(t)
}

// TestRiverSchema puts River's tables into a separate schema.
func TestRiverSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "UTC", RiverSchema: "Queue"})
	db.RawEvents(t)
	db.InsertDate(t, day, 100, 40)
	app, err := river.NewClient(riverpgxv5.New(db.Pool), &river.Config{Schema: "Queue"})
	require.NoError(t, err)
	b := &testBundle{db: db, app: app}
	b.start(t)
	_, err = app.Insert(t.Context(), jobs.RollupDayArgs{Date: day}, nil)
	require.NoError(t, err)
	b.db.Wait(t, "EXISTS(SELECT FROM analytics.date_states WHERE metric_date = $1 AND state = 'complete')", day)
	require.EqualValues(t, 100, pgtest.RequireExact(t, db).Events)
	b.db.Wait(t, `EXISTS(SELECT FROM "Queue".river_job WHERE kind = 'rollup_day' AND state = 'completed')`)
}
