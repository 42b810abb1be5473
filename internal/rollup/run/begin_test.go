package run_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// A batch is at most 5,000 rows, however quick they are: other commits wait for its WAL.
func TestRunBatches(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	_, err := b.db.Exec(t.Context(), `INSERT INTO public.raw_events (entity_id, event_type, created_at)
		SELECT i, 'view', '2026-03-01 12:00+00' FROM generate_series(1, 12000) AS i`)
	require.NoError(t, err)
	b.request(t, day)
	b.runner.Clock = standing{at: time.Now()}
	var before, largest int64
	_, err = b.runner.Run(t.Context(), run.Order{Date: day, Progress: func(f run.Report) {
		before, largest = f.Inserted, max(largest, f.Inserted-before)
	}})
	require.NoError(t, err)
	require.EqualValues(t, 12_000, before)
	require.LessOrEqual(t, largest, int64(5_000), "batches grow by what the server took, so on a busy machine they may be smaller")
}

// A date is over when Postgres's clock says so, and not earlier for a worker whose clock is ahead. A worker whose clock is behind leaves the date to
// others.
func TestRunClock(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	today := pgtest.Today(t, time.UTC)
	for d, ahead := range map[date.Date]time.Duration{today: 48 * time.Hour, today.AddDays(-1): -48 * time.Hour} {
		b.request(t, d)
		b.runner.Clock = standing{at: time.Now().Add(ahead)}
		_, err := b.runner.Run(t.Context(), run.Order{Date: d})
		require.ErrorIs(t, err, run.ErrNotOver, ahead)
	}
	b.runner.Clock = pace.SystemClock{}
	_, err := b.runner.Run(t.Context(), run.Order{Date: today.AddDays(-1)})
	require.NoError(t, err)
}

// A run writes only to its own date, whatever entities the neighboring dates have.
func TestRunNeighbors(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	for i := range 3 {
		b.db.InsertDate(t, day.AddDays(i-1), 2_000, 400)
		b.rollup(t, day.AddDays(i-1))
	}
	_, err := b.db.Exec(t.Context(), `DELETE FROM public.raw_events
		WHERE entity_id < 0 AND created_at >= analytics.date_start('2026-03-01') AND created_at < analytics.date_start('2026-03-02')`)
	require.NoError(t, err)
	figures := b.rollup(t, day)
	require.Positive(t, figures.Deleted)
	require.EqualValues(t, 3, pgtest.RequireExact(t, b.db).Dates)
}

// A run satisfies the due requests of its own date.
func TestRunRequests(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 100, 10)
	b.request(t, day.AddDays(1))
	_, err := b.db.Exec(t.Context(), "INSERT INTO analytics.rollup_requests (metric_date, due_at) VALUES ($1, now() + interval '1 hour')", day)
	require.NoError(t, err)
	_, err = b.runner.Run(t.Context(), run.Order{Date: day})
	require.ErrorIs(t, err, run.ErrNothingToDo)

	b.rollup(t, day)
	var open, claimed int
	require.NoError(t, b.db.QueryRow(t.Context(),
		"SELECT count(*), count(run_id) FROM analytics.rollup_requests WHERE resolved_at IS NULL").Scan(&open, &claimed))
	require.Equal(t, 2, open)
	require.Zero(t, claimed)
}

// A live run keeps its date, except against a later attempt of the same job, because River has given up the earlier one.
func TestRunSucceeds(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 100, 10)
	b.request(t, day)
	_, err := b.db.Exec(t.Context(), `
		INSERT INTO analytics.rollup_runs (id, metric_date, job_id, attempt, worker) OVERRIDING SYSTEM VALUE VALUES (900, '2026-03-01', 7, 2, 'a');
		INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, heartbeat_at) VALUES ('2026-03-01', 'running', 900, 900, now())`)
	require.NoError(t, err)
	job := func(id int64) *int64 { return &id }
	for _, order := range []run.Order{{}, {JobID: job(7), Attempt: 1}, {JobID: job(7), Attempt: 2}, {JobID: job(8), Attempt: 3}} {
		order.Date = day
		_, err := b.runner.Run(t.Context(), order)
		require.ErrorIs(t, err, run.ErrBusy)
	}
	_, err = b.runner.Run(t.Context(), run.Order{Date: day, JobID: job(7), Attempt: 3})
	require.NoError(t, err)
}

// Each column is updated separately.
func TestRunUpdates(t *testing.T) {
	t.Parallel()
	b := setup(t, installations[0])
	b.db.InsertDate(t, day, 1_000, 10)
	b.rollup(t, day)
	for i, eventType := range []string{"view", "click", "save", "skip", "comment"} {
		b.db.Insert(t, pgtest.Event{Entity: b.db.Entity(t, i), Type: eventType, At: atNoon(t, b)})
		require.EqualValues(t, 1, b.rollup(t, day).Updated, eventType)
		require.EqualValues(t, 1_001+i, pgtest.RequireExact(t, b.db).Events)
	}
}
