package worker

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/jobs"
)

// controlTimeout bounds a control job. The next attempt does not repeat what the job has committed by then. After rescueAfter,
// when the job cannot be running any more, River considers it stuck.
const (
	controlTimeout = 2 * time.Minute
	rescueAfter    = controlTimeout + 10*time.Second
)

// dailyRollupWorker requests the dates that are due.
type dailyRollupWorker struct {
	river.WorkerDefaults[jobs.DailyRollupArgs]

	planner *schedule.Planner
	done    func()
}

func newDailyRollupWorker(a *assembly) river.Worker[jobs.DailyRollupArgs] {
	return &dailyRollupWorker{planner: a.planner, done: a.done}
}

// Timeout returns the timeout of control jobs.
func (*dailyRollupWorker) Timeout(*river.Job[jobs.DailyRollupArgs]) time.Duration {
	return controlTimeout
}

// Work requests the dates; the reconciler does the rest.
func (w *dailyRollupWorker) Work(ctx context.Context, job *river.Job[jobs.DailyRollupArgs]) error {
	planner := *w.planner
	planner.Via = job.Args.RequestedVia
	plan := planner.Plan
	if job.Args.Now {
		plan = planner.PlanNow
	}
	dates, err := plan(ctx)
	if errors.Is(err, source.ErrNone) || errors.Is(err, schedule.ErrPaused) {
		// The worker was deployed before a source was set, or somebody has paused the schedule. The reconciler inserts the
		// job again once there is a source or the schedule is resumed.
		return river.RecordOutput(ctx, map[string]string{"skipped": err.Error()})
	}
	if err != nil {
		return err
	}
	w.done()
	return river.RecordOutput(ctx, map[string]int{"dates_requested": len(dates)})
}

// backfillWorker starts backfills.
type backfillWorker struct {
	river.WorkerDefaults[jobs.BackfillArgs]

	db    *postgres.DB
	clock pace.Clock
	done  func()
}

func newBackfillWorker(a *assembly) river.Worker[jobs.BackfillArgs] {
	return &backfillWorker{db: a.config.DB, clock: a.config.Clock, done: a.done}
}

// Timeout returns the timeout of control jobs.
func (*backfillWorker) Timeout(*river.Job[jobs.BackfillArgs]) time.Duration { return controlTimeout }

// Work records the backfill, exactly once over all attempts.
func (w *backfillWorker) Work(ctx context.Context, job *river.Job[jobs.BackfillArgs]) error {
	plan := backfill.Plan{
		Range:       date.Range{First: job.Args.From, Last: job.Args.To},
		NewestFirst: job.Args.NewestFirst,
		EveryDate:   job.Args.EveryDate,
		InFlight:    job.Args.InFlight,
		Pause:       time.Duration(job.Args.PauseSeconds) * time.Second,
		By:          job.Args.RequestedBy,
		Via:         "river",
		JobID:       &job.ID,
	}
	today, err := schedule.Today(ctx, w.db, w.clock)
	if err != nil {
		return err
	}
	if err := plan.Validate(today); err != nil {
		return river.JobCancel(err)
	}
	var id int64
	err = w.db.Tx(ctx, func(tx pgx.Tx) (err error) {
		id, _, err = backfill.Start(ctx, tx, plan)
		return err
	})
	if err != nil {
		return err
	}
	w.done()
	return river.RecordOutput(ctx, map[string]int64{"backfill_id": id})
}

// pruneLedgerWorker deletes old rows of the ledger, and months of metrics that are no longer kept.
type pruneLedgerWorker struct {
	river.WorkerDefaults[jobs.PruneLedgerArgs]

	db        *postgres.DB
	planner   *schedule.Planner
	clock     pace.Clock
	pace      pace.Speed
	retention time.Duration
}

func newPruneLedgerWorker(a *assembly) river.Worker[jobs.PruneLedgerArgs] {
	return &pruneLedgerWorker{
		db: a.config.DB, planner: a.planner, clock: a.config.Clock, pace: a.config.speed(), retention: a.config.Retention,
	}
}

// Timeout returns the timeout of control jobs.
func (*pruneLedgerWorker) Timeout(*river.Job[jobs.PruneLedgerArgs]) time.Duration {
	return controlTimeout
}

// Work deletes the rows and drops the months.
func (w *pruneLedgerWorker) Work(ctx context.Context, _ *river.Job[jobs.PruneLedgerArgs]) error {
	var deleted int64
	if w.retention > 0 {
		var err error
		pacer := &pace.Pacer{Clock: w.clock, Pace: w.pace}
		if deleted, err = ledger.Prune(ctx, w.db, w.clock.Now().Add(-w.retention), pacer); err != nil {
			return err
		}
	}
	dropped, err := schema.DropMonths(ctx, w.db, w.clock, audit.Who{Via: audit.ViaWorker})
	if err != nil {
		return err
	}
	if err := w.planner.Record(ctx, schedule.PruneName); err != nil {
		return err
	}
	return river.RecordOutput(ctx, map[string]int64{"rows_deleted": deleted, "months_dropped": int64(dropped)})
}
