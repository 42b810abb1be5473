package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/run"
)

// rollupDayWorker works rollup_day jobs.
//
// A job is a ticket, the ledger is the truth: a job whose date is busy, not over or not asked for any more is done
// without a run, for requests that stay open get another job from the reconciler.
type rollupDayWorker struct {
	river.WorkerDefaults[RollupDayArgs]

	db      *postgres.DB
	runner  *run.Runner
	jobRow  string // SQL that returns a job's state and attempt, in River's schema
	jobFree string // SQL that returns a row unless somebody has the job locked
	done    func() // tells the reconciler that a date has finished
}

// awaitEvery is how often a worker looks again at a job row that is not its own to finish yet.
const awaitEvery = 200 * time.Millisecond

func newRollupDayWorker(db *postgres.DB, runner *run.Runner, riverSchema string, done func()) *rollupDayWorker {
	table := pgx.Identifier{riverSchema, "river_job"}.Sanitize()
	return &rollupDayWorker{
		db: db, runner: runner, done: done,
		jobRow:  "SELECT state = 'running' AND attempt > $2 FROM " + table + " WHERE id = $1",
		jobFree: "SELECT true FROM " + table + " WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED",
	}
}

// Timeout is none. A timeout would have to be longer than the longest day at the slowest pace, and River waits for it
// before it rescues a job, so a crashed worker's date would wait for hours. Instead a run gives a sign of life in the
// ledger every second or two, however long it takes; after run.Silence (30 s) without one the reconciler, which runs in
// every worker process once a second, hands the job to another worker. A date of a killed worker therefore resumes
// after about half a minute, at its cursor. Every statement has a time limit of its own, on both ends.
func (*rollupDayWorker) Timeout(*river.Job[RollupDayArgs]) time.Duration { return -1 }

// Work runs the date.
func (w *rollupDayWorker) Work(ctx context.Context, job *river.Job[RollupDayArgs]) error {
	if job.Args.Date.IsZero() {
		return river.JobCancel(errors.New("the job has no date: its arguments should be {\"date\": \"2026-03-01\"}"))
	}
	figures, err := w.runner.Run(ctx, run.Order{Date: job.Args.Date, JobID: &job.ID, Attempt: job.Attempt})
	switch {
	case errors.Is(err, run.ErrFenced):
		w.awaitSuccessor(ctx, job.ID, job.Attempt)
		return nil
	case errors.Is(err, run.ErrBusy), errors.Is(err, run.ErrNothingToDo), errors.Is(err, run.ErrNotOver):
		err = river.RecordOutput(ctx, map[string]string{"skipped": err.Error()})
	case err == nil:
		err = river.RecordOutput(ctx, map[string]int64{
			"run_id": figures.RunID, "events": figures.Events, "entities": figures.Entities,
			"inserted": figures.Inserted, "updated": figures.Updated, "deleted": figures.Deleted,
		})
		w.done()
	default:
		return err
	}
	w.awaitUnlocked(ctx, job.ID)
	return err
}

// awaitSuccessor waits until the attempt that fenced this one has ended. River tells attempts of a job apart by nothing
// but its id: were this attempt to return while the other is at work, River would finish the other's job.
func (w *rollupDayWorker) awaitSuccessor(ctx context.Context, jobID int64, attempt int) {
	await(ctx, func() bool {
		var working bool
		err := w.db.QueryRow(ctx, w.jobRow, jobID, attempt).Scan(&working)
		return err == nil && working
	})
}

// awaitUnlocked waits until nobody has the job's row locked. An application's transaction that has inserted a duplicate
// of this job has it locked until it ends. Were the job to be completed meanwhile, River would wait for that lock with
// every other job that happens to be completed in the same statement.
func (w *rollupDayWorker) awaitUnlocked(ctx context.Context, jobID int64) {
	await(ctx, func() bool {
		var free bool
		err := w.db.QueryRow(ctx, w.jobFree, jobID).Scan(&free)
		return errors.Is(err, pgx.ErrNoRows)
	})
}

func await(ctx context.Context, hold func() bool) {
	ticker := time.NewTicker(awaitEvery)
	defer ticker.Stop()
	for hold() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
