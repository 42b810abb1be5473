package worker_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/jobs"
)

func (b *testBundle) startBackfill(t *testing.T, plan backfill.Plan) int64 {
	t.Helper()
	plan.Via = "test"
	require.NoError(t, plan.Validate(date.MustParse("2026-06-01")))
	var id int64
	require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) (err error) {
		id, _, err = backfill.Start(t.Context(), tx, plan)
		return err
	}))
	return id
}

func (b *testBundle) awaitBackfill(t *testing.T, id int64, state string) backfill.Status {
	t.Helper()
	b.db.Wait(t, "EXISTS(SELECT FROM analytics.backfills WHERE id = $1 AND state = $2)", id, state)
	status, err := backfill.Get(t.Context(), b.db, id)
	require.NoError(t, err)
	return status
}

// order returns the dates in the order in which their runs began.
func (b *testBundle) order(t *testing.T) []date.Date {
	t.Helper()
	return pgtest.Column[date.Date](t, b.db, "SELECT metric_date FROM analytics.rollup_runs ORDER BY id")
}

// mostAtATime returns the largest number of spans of a table that overlap at an instant.
func (b *testBundle) mostAtATime(t *testing.T, table, from, to string) int64 {
	t.Helper()
	return pgtest.Value[int64](t, b.db, "SELECT max((SELECT count(*) FROM "+table+" AS o WHERE o."+from+" <= s."+from+" AND o."+to+" > s."+from+")) FROM "+table+" AS s")
}

// TestBackfillInFlight: two processes could run four dates at a time, but the backfill allows three.
func TestBackfillInFlight(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	all := dates(8)
	for _, d := range all {
		b.db.InsertDate(t, d, 50, 20)
	}
	b.hold(t, all...)
	b.start(t)
	b.start(t)
	id := b.startBackfill(t, backfill.Plan{Range: date.Range{First: all[0], Last: all[7]}, InFlight: 3})
	inFlight := `(SELECT array_agg(metric_date ORDER BY metric_date) = $1 FROM analytics.backfill_dates WHERE state = 'requested')
		AND (SELECT array_agg(metric_date ORDER BY metric_date) = $1 FROM analytics.rollup_dates WHERE state = 'running')`
	for _, three := range [][]date.Date{all[:3], all[3:6]} {
		b.db.Wait(t, inFlight, three)
		b.awaitLooks(t)
		require.True(t, pgtest.Value[bool](t, b.db, "SELECT "+inFlight, three))
		b.release(t, three...)
	}
	b.release(t, all...)
	status := b.awaitBackfill(t, id, backfill.Complete)
	require.EqualValues(t, 8, status.Dates)
	require.EqualValues(t, 8, status.DatesComplete)
	require.EqualValues(t, 8, b.runs(t))
	require.EqualValues(t, 3, b.mostAtATime(t, "analytics.rollup_runs", "started_at", "finished_at"))
	require.EqualValues(t, 3, b.mostAtATime(t, "analytics.rollup_requests", "requested_at", "resolved_at"))
	require.EqualValues(t, 408, pgtest.RequireExact(t, b.db).Events)
	b.requireQuiet(t)
}

// TestBackfillJob starts a backfill as an application does, in its own transaction, with the other options.
func TestBackfillJob(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	all := dates(4)
	for _, d := range all {
		b.db.InsertDate(t, d, 50, 20)
	}
	b.start(t)
	b.request(t, all[1])
	b.awaitDone(t)

	insert := func(args jobs.BackfillArgs) int64 {
		var id int64
		require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
			result, err := b.app.InsertTx(t.Context(), tx, args, nil)
			if err == nil {
				id = result.Job.ID
			}
			return err
		}))
		return id
	}
	args := jobs.BackfillArgs{From: all[0], To: all[3], NewestFirst: true, RequestedBy: "ada"}
	job := insert(args)
	b.db.Wait(t, "(SELECT count(*) = 1 FROM analytics.backfills WHERE state = 'complete')")
	require.Equal(t, []date.Date{all[1], all[3], all[2], all[0]}, b.order(t), "newest first, and only incomplete dates")
	list, err := backfill.List(t.Context(), b.db, 0, 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "ada", list[0].By)
	require.Equal(t, "river", list[0].Via)
	require.EqualValues(t, 3, list[0].DatesComplete)
	require.EqualValues(t, 200, pgtest.RequireExact(t, b.db).Events)

	// If the worker had died before River knew that the job was done, River would retry the job.
	b.db.Wait(t, "(SELECT state = 'completed' FROM river_job WHERE id = $1)", job)
	b.db.Do(t, "UPDATE river_job SET state = 'available', finalized_at = NULL WHERE id = $1", job)
	b.db.Wait(t, "(SELECT state = 'completed' AND attempt = 2 FROM river_job WHERE id = $1)", job)
	b.requireQuiet(t)
	require.EqualValues(t, 1, pgtest.Value[int64](t, b.db, "SELECT count(*) FROM analytics.backfills"))

	args.EveryDate, args.InFlight, args.NewestFirst = true, 2, false
	insert(args)
	b.db.Wait(t, "(SELECT count(*) = 2 FROM analytics.backfills WHERE state = 'complete')")
	again := b.order(t)[4:]
	slices.SortFunc(again, date.Date.Compare)
	require.Equal(t, all, again)
	b.requireQuiet(t)
}

// TestBackfillPause: the backfill waits between dates, and takes them oldest first.
func TestBackfillPause(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	b.start(t)
	all := dates(3)
	_, err := b.app.Insert(t.Context(), jobs.BackfillArgs{From: all[0], To: all[2], PauseSeconds: 1}, nil)
	require.NoError(t, err)
	b.db.Wait(t, "EXISTS(SELECT FROM analytics.backfills WHERE state = 'complete')")
	require.Equal(t, all, b.order(t))
	require.True(t, pgtest.Value[bool](t, b.db, `SELECT count(*) = 2 AND bool_and(n.requested_at - d.finished_at >= interval '1 second')
		FROM analytics.backfill_dates AS d INNER JOIN analytics.backfill_dates AS n ON n.metric_date = d.metric_date + 1`))
}

// TestBackfillSurvives stops its only worker in the middle of a date, pauses and cancels in between.
func TestBackfillSurvives(t *testing.T) {
	t.Parallel()
	b := setupUnscheduled(t)
	all := dates(6)
	for _, d := range all {
		b.db.InsertDate(t, d, 50, 20)
	}
	b.hold(t, all[1], all[3])
	first := b.start(t)
	id := b.startBackfill(t, backfill.Plan{Range: date.Range{First: all[0], Last: all[5]}})
	b.awaitHeld(t, all[1])
	first.stop(t)
	status, err := backfill.Get(t.Context(), b.db, id)
	require.NoError(t, err)
	require.Equal(t, backfill.Running, status.State)
	require.EqualValues(t, 1, status.DatesComplete)
	require.EqualValues(t, 1, status.DatesRequested)

	second := b.start(t)
	require.NoError(t, backfill.SetState(t.Context(), b.db.DB, id, backfill.Paused, audit.Who{Via: "test"}))
	b.release(t, all[1])
	b.awaitDone(t)
	b.awaitLooks(t)
	require.Equal(t, []date.Date{all[0], all[1], all[1]}, b.order(t), "a paused backfill takes no further date")
	second.stop(t)

	b.start(t)
	require.NoError(t, backfill.SetState(t.Context(), b.db.DB, id, backfill.Running, audit.Who{Via: "test"}))
	b.awaitHeld(t, all[3])
	require.NoError(t, backfill.SetState(t.Context(), b.db.DB, id, backfill.Cancelled, audit.Who{Via: "test"}))
	b.release(t, all[3])
	b.requireQuiet(t)
	status = b.awaitBackfill(t, id, backfill.Cancelled)
	require.EqualValues(t, 3, status.DatesComplete)
	require.EqualValues(t, 3, status.DatesCancelled)
	require.Equal(t, []date.Date{all[0], all[1], all[1], all[2], all[3]}, b.order(t))
	require.EqualValues(t, 202, pgtest.RequireExact(t, b.db, all[:4]...).Events, "the running date was completed")
}
