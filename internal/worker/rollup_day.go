package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/jobs"
)

// rollupDayWorker works rollup_day jobs.
//
// The ledger decides what to do, and a job only makes a worker look. If the job's date is running, not over, or no longer
// requested, the job ends without a run. If requests stay open, the reconciler creates another job for them.
type rollupDayWorker struct {
	river.WorkerDefaults[jobs.RollupDayArgs]

	db     *postgres.DB
	runner *run.Runner
	jobRow string // SQL that returns a job's state and attempt, in River's schema
	done   func() // tells the reconciler that a date has finished
	// enqueue creates jobs for dates that need one of their own.
	enqueue func(ctx context.Context, dates []date.Date, priority int) error
	groups  *groupRest

	nextRetry func(failed int) time.Time // see Config.NextRetry
}

// awaitEvery is how often a worker whose attempt was replaced checks whether the new attempt has ended.
const awaitEvery = 200 * time.Millisecond

func newRollupDayWorker(a *assembly) river.Worker[jobs.RollupDayArgs] {
	config := a.config
	return &rollupDayWorker{
		db: config.DB, done: a.done, enqueue: a.enqueue, groups: a.groups, nextRetry: config.NextRetry,
		runner: &run.Runner{
			Primary: config.DB, Source: config.Source, Type: config.Installation.EntityType, Clock: config.Clock,
			Options: run.Options{
				Pace: config.speed(), MaxEntities: config.MaxEntities, Worker: config.Name, Silence: config.Silence,
				SliceCounts: config.SliceCounts,
			},
			Listeners: config.Listeners,
		},
		jobRow: "SELECT state = 'running' AND attempt > $2 FROM " + a.jobTable + " WHERE id = $1",
	}
}

// Timeout returns no timeout. A timeout would have to be longer than the longest day at the slowest pace, and River waits for
// it before it rescues a job, so a crashed worker's date would wait for hours. Instead a run writes a heartbeat to the ledger
// every second or two, however long it takes. After lease.Silence (30 s) without one, the reconciler, which runs in every
// worker process once a second, hands the job to another worker. So a killed worker's date resumes at its cursor after about
// half a minute. Every statement has its own time limit, in the client and on the server.
func (*rollupDayWorker) Timeout(*river.Job[jobs.RollupDayArgs]) time.Duration { return -1 }

// NextRetry returns River's default, but no longer pause than that before the tenth attempt: requests that arrive in the meantime
// add attempts (analytics.promote_jobs), and the backoff of these would grow to days.
func (w *rollupDayWorker) NextRetry(job *river.Job[jobs.RollupDayArgs]) time.Time {
	if w.nextRetry != nil {
		return w.nextRetry(len(job.Errors) + 1)
	}
	const most = jobs.RollupAttempts - 1
	if len(job.Errors) < most {
		return time.Time{} // River uses its default.
	}
	jitter := 0.9 + 0.2*rand.Float64()
	return w.runner.Clock.Now().Add(time.Duration(jitter * most * most * most * most * float64(time.Second)))
}

// Work runs the date, or a group of dates if the reconciler has put others along with it.
func (w *rollupDayWorker) Work(ctx context.Context, job *river.Job[jobs.RollupDayArgs]) error {
	if job.Args.Date.IsZero() {
		return river.JobCancel(errors.New("the job has no date: its arguments should be {\"date\": \"2026-03-01\"}"))
	}
	order := run.Order{Date: job.Args.Date, JobID: &job.ID, Attempt: job.Attempt}
	var together error
	// After a failure, the date is rolled up alone.
	if along := alongOf(job.Metadata); len(along) > 0 && job.Attempt == 1 {
		ended, err := w.workGroup(ctx, job, order, along)
		if ended {
			return err
		}
		together = err
	}
	figures, err := w.runner.Run(ctx, order)
	switch {
	case errors.Is(err, lease.ErrFenced):
		w.awaitSuccessor(ctx, job.ID, job.Attempt)
		return nil
	case errors.Is(err, run.ErrBusy), errors.Is(err, run.ErrNothingToDo), errors.Is(err, run.ErrNotOver):
		return river.RecordOutput(ctx, map[string]string{"skipped": err.Error()})
	case errors.Is(err, run.ErrProtected):
		w.done()
		return river.RecordOutput(ctx, map[string]string{"protected": err.Error()})
	case err == nil:
		w.done()
		output := map[string]any{
			"run_id": figures.RunID, "events": figures.Events, "entities": figures.Entities,
			"inserted": figures.Inserted, "updated": figures.Updated, "deleted": figures.Deleted,
		}
		if together != nil {
			output["alone"] = together.Error()
		}
		return river.RecordOutput(ctx, output)
	default:
		return err
	}
}

// workGroup rolls up the job's date together with others. It returns false, and why, if the date must be rolled up alone.
func (w *rollupDayWorker) workGroup(
	ctx context.Context, job *river.Job[jobs.RollupDayArgs], order run.Order, along []date.Date,
) (ended bool, err error) {
	figures, complete, alone, err := run.Report{}, 0, along, run.ErrAlone
	if now := w.runner.Clock.Now(); !w.groups.resting(now) {
		figures, complete, alone, err = w.runner.Group(ctx, order, along)
		if postgres.IsTimeout(err) {
			w.groups.rest(now)
		}
	}
	// The others wait for no job. Without this, the next look would put a date that cannot be in a group into one again.
	if err := w.enqueue(ctx, alone, job.Priority); err != nil {
		return true, fmt.Errorf("create jobs for dates that cannot be rolled up together: %w", err)
	}
	if errors.Is(err, run.ErrAlone) && ctx.Err() == nil {
		return false, err
	}
	w.done() // Dates that were left out need another job.
	switch {
	case errors.Is(err, run.ErrNothingToDo), errors.Is(err, run.ErrNotOver):
		return true, river.RecordOutput(ctx, map[string]string{"skipped": err.Error()})
	case err != nil:
		return true, err
	}
	return true, river.RecordOutput(ctx, map[string]int64{
		"run_id": figures.RunID, "events": figures.Events, "entities": figures.Entities,
		"inserted": figures.Inserted, "updated": figures.Updated, "deleted": figures.Deleted, "dates": int64(complete),
	})
}

// awaitSuccessor waits until the attempt that fenced this one has ended. River identifies attempts of a job only by the job's
// id: if this attempt returned while the other is running, River would finish the other's job.
func (w *rollupDayWorker) awaitSuccessor(ctx context.Context, jobID int64, attempt int) {
	ticker := time.NewTicker(awaitEvery)
	defer ticker.Stop()
	for {
		var working bool
		err := w.db.Read(ctx, func(on postgres.DBTX) error {
			return on.QueryRow(ctx, w.jobRow, jobID, attempt).Scan(&working)
		})
		if err != nil || !working {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
