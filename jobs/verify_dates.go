package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schedule"
	"github.com/daymill/daymill/internal/verification"
)

// VerifyDatesArgs are the arguments of the periodic job that compares some finished dates with their events.
type VerifyDatesArgs struct{}

// Kind is verify_dates.
func (VerifyDatesArgs) Kind() string { return "verify_dates" }

// InsertOpts makes the job unique.
func (VerifyDatesArgs) InsertOpts() river.InsertOpts { return controlOpts(true) }

// verifyTimeout bounds a verify_dates job: what it has verified by then is recorded, and the next attempt goes on with the
// rest. It is also how long the job of a dead worker waits for another, which nothing depends on.
const verifyTimeout = time.Hour

// verifyVia is how the ledger names verifications of the job.
const verifyVia = "job"

// verifyDatesWorker works verify_dates jobs: each day a few dates, those that were not verified for longest.
type verifyDatesWorker struct {
	river.WorkerDefaults[VerifyDatesArgs]

	db       *postgres.DB
	planner  *schedule.Planner
	verifier *verification.Verifier
	most     int // dates a day; none where 0
	repair   verification.Repair
	done     func() // tells the reconciler that a rollup may have been requested
}

func newVerifyDatesWorker(config Config, planner *schedule.Planner, done func()) *verifyDatesWorker {
	repair := verification.RepairNone
	if config.VerifyRepair {
		repair = verification.RepairGains
	}
	return &verifyDatesWorker{
		db: config.DB, planner: planner, most: config.VerifyDates, repair: repair, done: done,
		verifier: &verification.Verifier{
			Primary: config.DB, Source: config.Source, Type: config.Installation.EntityType, Clock: config.Clock,
			Options: verification.Options{Pace: config.Pace, MaxEntities: config.MaxEntities}, Listeners: config.Listeners,
		},
	}
}

// Timeout is longer than that of the other control jobs, which do not wait for it: the queue works two jobs at a time.
func (*verifyDatesWorker) Timeout(*river.Job[VerifyDatesArgs]) time.Duration { return verifyTimeout }

// Work verifies. A date that cannot be verified keeps no other from being so.
func (w *verifyDatesWorker) Work(ctx context.Context, job *river.Job[VerifyDatesArgs]) error {
	if w.most <= 0 {
		return w.planner.Record(ctx, schedule.VerifyName)
	}
	dates, err := verification.Due(ctx, w.db, w.most, job.CreatedAt, verifyVia)
	if err != nil {
		return err
	}
	var failed error
	found := map[string]int{}
	for _, day := range dates {
		result, err := w.verifier.Verify(ctx, verification.Order{Date: day, Via: verifyVia, Repair: w.repair})
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		found[result.Result]++
		if result.Repair {
			w.done()
		}
	}
	if failed != nil {
		return failed
	}
	if err := w.planner.Record(ctx, schedule.VerifyName); err != nil {
		return err
	}
	return river.RecordOutput(ctx, found)
}
