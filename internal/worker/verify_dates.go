package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/rollup/verification"
	"github.com/daymill/daymill/jobs"
)

// asked reports whether the arguments name certain dates.
func asked(a jobs.VerifyDatesArgs) bool { return !a.From.IsZero() || !a.To.IsZero() || a.Sample != 0 }

// ErrVerify is returned for arguments that cannot be verified.
var ErrVerify = errors.New("cannot be verified")

// validate rejects invalid arguments.
func validate(a jobs.VerifyDatesArgs) error {
	switch {
	case a.Sample != 0 && (!a.From.IsZero() || !a.To.IsZero()):
		return fmt.Errorf("%w: give a range or a sample, not both", ErrVerify)
	case a.From.IsZero() != a.To.IsZero():
		return fmt.Errorf("%w: give the first and the last date", ErrVerify)
	case a.Sample < 0 || a.Sample > verification.MaxDates:
		return fmt.Errorf("%w: give a sample of 1 to %d dates", ErrVerify, verification.MaxDates)
	case a.To.Before(a.From):
		return fmt.Errorf("%w: the range %s is reversed", ErrVerify, date.Range{First: a.From, Last: a.To})
	case a.To.Sub(a.From) >= verification.MaxDates:
		return fmt.Errorf("%w: the range %s has %d dates, and a job takes %d at most", ErrVerify, date.Range{First: a.From, Last: a.To},
			a.To.Sub(a.From)+1, verification.MaxDates)
	default:
		return nil
	}
}

// verifyTimeout bounds a verify_dates job. What it has verified by then is recorded, and the next attempt continues with the
// rest. It is also how long a dead worker's job waits to be rescued, which delays nothing else.
const verifyTimeout = time.Hour

// verifyVia is how the ledger names verifications of the periodic job.
const verifyVia = "job"

const (
	// verifyTurn is how long a job verifies before other jobs get a turn; it then continues where it stopped.
	verifyTurn = 20 * time.Minute
	// verifyBusy is how long a job waits while the process verifies for another.
	verifyBusy = 10 * time.Second
)

// verifyDatesWorker works verify_dates jobs: every day a few dates, least recently verified first, and any dates that
// somebody requests. A process verifies for one job at a time, because a verification holds a connection, and its entities in
// memory, and must not occupy all of the workers for control jobs.
type verifyDatesWorker struct {
	river.WorkerDefaults[jobs.VerifyDatesArgs]

	db       *postgres.DB
	planner  *schedule.Planner
	verifier *verification.Verifier
	most     int // dates a day; none if 0
	repair   verification.Repair
	clock    pace.Clock
	turn     chan struct{} // of capacity 1; holds a value while a job verifies
	done     func()        // tells the reconciler that a rollup may have been requested
}

func newVerifyDatesWorker(a *assembly) river.Worker[jobs.VerifyDatesArgs] {
	config := a.config
	repair := verification.RepairNone
	if config.VerifyRepair {
		repair = verification.RepairGains
	}
	return &verifyDatesWorker{
		db: config.DB, planner: a.planner, most: config.VerifyDates, repair: repair, done: a.done, clock: config.Clock,
		turn: make(chan struct{}, 1),
		verifier: &verification.Verifier{
			Primary: config.DB, Source: config.Source, Type: config.Installation.EntityType, Clock: config.Clock,
			Options: verification.Options{Pace: config.speed(), MaxEntities: config.MaxEntities}, Listeners: config.Listeners,
		},
	}
}

// Timeout is longer than that of the other control jobs. They do not wait for it, because the queue works two jobs at a time.
func (*verifyDatesWorker) Timeout(*river.Job[jobs.VerifyDatesArgs]) time.Duration {
	return verifyTimeout
}

// Work verifies dates. If one cannot be verified, it continues with the others.
func (w *verifyDatesWorker) Work(ctx context.Context, job *river.Job[jobs.VerifyDatesArgs]) error {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	default:
		return river.JobSnooze(verifyBusy)
	}
	if asked(job.Args) {
		return w.workAsked(ctx, job)
	}
	if w.most <= 0 {
		return w.planner.Record(ctx, schedule.VerifyName)
	}
	dates, err := verification.Due(ctx, w.db, w.most, job.CreatedAt, verifyVia)
	if err != nil {
		return err
	}
	found, _, err := w.verify(ctx, dates, verification.Order{Via: verifyVia, Repair: w.repair})
	if err != nil {
		return err
	}
	if err := w.planner.Record(ctx, schedule.VerifyName); err != nil {
		return err
	}
	return river.RecordOutput(ctx, found)
}

// workAsked verifies requested dates. After a retry, or after other jobs had their turn, it continues where it stopped.
func (w *verifyDatesWorker) workAsked(ctx context.Context, job *river.Job[jobs.VerifyDatesArgs]) error {
	args := job.Args
	if err := validate(args); err != nil {
		return river.JobCancel(err)
	}
	var dates []date.Date
	var err error
	if args.Sample > 0 {
		dates, _, err = verification.Sample(ctx, w.db, args.Sample, job.ID) // The same sample each time.
	} else {
		dates, err = verification.InRange(ctx, w.db, date.Range{First: args.From, Last: args.To})
	}
	if err != nil {
		return err
	}
	all := len(dates)
	if dates, err = verification.Left(ctx, w.db, dates, job.CreatedAt); err != nil {
		return err
	}
	order := verification.Order{By: args.RequestedBy, Via: args.RequestedVia}
	if order.Via == "" {
		order.Via = "river"
	}
	if args.Repair {
		order.Repair = verification.RepairGains
	}
	found, over, err := w.verify(ctx, dates, order)
	if err != nil {
		return err
	}
	if !over {
		return river.JobSnooze(3 * verifyBusy) // Jobs that wait try more often.
	}
	found["dates"] = all
	return river.RecordOutput(ctx, found)
}

// verify verifies dates. It returns how many dates had each result, and whether it finished before its turn was over.
func (w *verifyDatesWorker) verify(
	ctx context.Context, dates []date.Date, order verification.Order,
) (found map[string]int, over bool, err error) {
	var failed error
	found = map[string]int{}
	began := w.clock.Now()
	for _, day := range dates {
		if w.clock.Now().Sub(began) > verifyTurn {
			return found, false, failed
		}
		order.Date = day
		result, err := w.verifier.Verify(ctx, order)
		if ctx.Err() != nil {
			return nil, false, err
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
	return found, true, failed
}

// Verify enqueues a job that verifies dates: a range or a sample. It returns the job's id, and false if the same job is already
// open. ErrVerify says what is wrong with the arguments. The audit records who requested it.
func (a *Admin) Verify(ctx context.Context, args jobs.VerifyDatesArgs, who audit.Who) (id int64, enqueued bool, err error) {
	if err := validate(args); err != nil {
		return 0, false, err
	}
	if !asked(args) {
		return 0, false, fmt.Errorf("%w: give a range or a sample", ErrVerify)
	}
	args.RequestedBy, args.RequestedVia = who.Actor, who.Via
	target := "sample of " + strconv.Itoa(args.Sample)
	if args.Sample == 0 {
		target = date.Range{First: args.From, Last: args.To}.String()
	}
	err = a.db.Tx(ctx, func(tx pgx.Tx) error {
		inserted, err := a.client.InsertTx(ctx, tx, args, nil)
		if err != nil {
			return fmt.Errorf("insert the job: %w", err)
		}
		id, enqueued = inserted.Job.ID, !inserted.UniqueSkippedAsDuplicate
		if !enqueued {
			return nil
		}
		return audit.Record(ctx, tx, audit.Entry{
			Who: who, Action: "verify dates", Target: target, Detail: map[string]any{"job": id, "repair": args.Repair},
		})
	})
	return id, enqueued, err
}
