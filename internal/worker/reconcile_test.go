package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/jobs"
)

// TestReconcileDates: jobs are created for dates that are over and due, and for no others.
func TestReconcileDates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := dates(6)
	b.request(t, all...)
	due := func() (found []date.Date) {
		rows, err := db.New(b.db).ReconcileDates(t.Context(), db.ReconcileDatesParams{
			AtInstant: at(all[4], 12), Rests: 19, Silence: time.Minute, MaxRows: 100,
		})
		require.NoError(t, err)
		for _, row := range rows {
			found = append(found, row.MetricDate)
		}
		return found
	}
	require.Equal(t, []date.Date{all[3], all[2], all[1], all[0]}, due(), "the others are not over")

	b.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, heartbeat_at)
		VALUES ($1, 'running', 1, 1, now()), ($2, 'running', 2, 2, now() - interval '2 minutes')`, all[0], all[1])
	// A job that Daymill creates for a request is not a request itself.
	before := b.openRequests(t)
	_, err := b.app.Insert(t.Context(), jobs.RollupDayArgs{Date: all[2]}, &river.InsertOpts{Metadata: []byte(`{"daymill": "request"}`)})
	require.NoError(t, err)
	require.Equal(t, before, b.openRequests(t))
	require.Equal(t, []date.Date{all[3], all[1]}, due())

	// The triggers request a date again and again: it waits for a multiple of the duration of its last run.
	b.db.Do(t, "UPDATE analytics.rollup_requests SET requested_via = 'watch' WHERE metric_date = $1", all[3])
	require.Equal(t, []date.Date{all[3], all[1]}, due(), "the first one does not wait")
	b.db.Do(t, `WITH run AS (
			INSERT INTO analytics.rollup_runs (metric_date, worker, state, started_at, finished_at, worked_ms, paused_ms)
			VALUES ($1, 'x', 'complete', now() - interval '70 seconds', now() - interval '60 seconds', 8000, 2000) RETURNING id
		) INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) SELECT $1, 'complete', id, id FROM run`, all[3])
	require.Equal(t, []date.Date{all[1]}, due())
	// The time in which its process was suspended, or its database was away, does not count.
	b.db.Do(t, "UPDATE analytics.rollup_runs SET worked_ms = 100, paused_ms = 100 WHERE worker = 'x'")
	require.Equal(t, []date.Date{all[3], all[1]}, due())
	// Nor do its pauses.
	b.db.Do(t, "UPDATE analytics.rollup_runs SET worked_ms = 3000, paused_ms = 7000 WHERE worker = 'x'")
	require.Equal(t, []date.Date{all[3], all[1]}, due())
	b.db.Do(t, "UPDATE analytics.rollup_runs SET worked_ms = 8000, paused_ms = 2000 WHERE worker = 'x'")
	require.Equal(t, []date.Date{all[1]}, due())
	b.db.Do(t, "UPDATE analytics.rollup_runs SET finished_at = now() - interval '67 seconds' WHERE worker = 'x'")
	require.Equal(t, []date.Date{all[3], all[1]}, due())
	b.db.Do(t, "UPDATE analytics.rollup_runs SET finished_at = now() WHERE worker = 'x'")
	b.db.Do(t, "UPDATE analytics.rollup_requests SET due_at = now() + interval '1 hour' WHERE metric_date = $1", all[1])
	require.Empty(t, due())
}

// TestReconcileLock: one process at a time creates jobs for requests.
func TestReconcileLock(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.db.InsertDate(t, day, 100, 40)
	tx, err := b.db.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // This releases the lock.
	mine, err := db.New(tx).ReconcileLock(t.Context(), 6_107_330_083)
	require.NoError(t, err)
	require.True(t, mine)
	b.start(t)
	b.request(t, day)
	b.awaitLooks(t)
	require.Empty(t, b.jobStates(t, day))
	require.NoError(t, tx.Rollback(t.Context()))
	b.awaitDone(t)
}
