package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/daymill/daymill/internal/clock"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/jobs"
)

const (
	// reconcileEvery is how often the reconciler looks for open requests if it cannot listen for them.
	reconcileEvery = time.Second
	// maintainEvery is how often it looks for dead workers' jobs and a missed schedule if nothing is requested.
	maintainEvery = 30 * time.Second
	// inspectEarly is how much earlier than that another worker may compare what is installed: the workers' looks do not coincide.
	inspectEarly = 5 * time.Second
	// touchAfter is how old the attempted_at of a job with a live run may become.
	touchAfter = time.Minute
	// scheduleGrace is how late a periodic job may be before it counts as missed: the elected leader may be a client of the
	// application, which does not know Daymill's periodic jobs.
	scheduleGrace = 2 * time.Minute
	// watchRests is how long requests of the triggers on the source wait after a run of their date, as a multiple of how long the
	// run took without its pauses. So a steady stream of late events uses at most a twentieth of the time.
	watchRests = 19
	// reconcileDates is how many jobs one look creates at most.
	reconcileDates = 500
	// faultEvery is how often a lasting fault is reported.
	faultEvery = time.Minute
	// insertLockTimeout is how long an insert waits for another open transaction that has inserted a job of the same date.
	insertLockTimeout = "100ms"

	// resting is for how long the reconciler does not look at finished dates after a look at them that did little, as a multiple of how long
	// that took. While many dates have jobs already, looks after each of them would take longer than rolling up small dates.
	resting = 9
	// little is how many jobs a look creates that did little.
	little = 10
	// soonest is how soon the reconciler looks again if a date with an open request rests. From look to look it waits half as long again, up to
	// reconcileEvery.
	soonest = 25 * time.Millisecond

	// notifiedEvery is the least time between two reactions to notifications.
	notifiedEvery = 100 * time.Millisecond
	// forgetTimeout is how long a stopped worker waits for the database.
	forgetTimeout = 2 * time.Second

	reconcileKey   = 6_107_330_083 // of an advisory lock; arbitrary
	requestChannel = "daymill_request"
)

// reconciler turns open requests into jobs. It runs in every worker process, and one is enough. It also advances backfills
// and hands jobs of dead workers to others.
type reconciler struct {
	db      *postgres.DB
	client  *river.Client[pgx.Tx]
	clock   pace.Clock
	zone    *time.Location
	planner *schedule.Planner
	logger  *slog.Logger
	outage  *telemetry.Outage // of the database; logger leaves out what only repeats it
	silence time.Duration     // see Config.Silence
	wake    chan struct{}     // of capacity 1
	// finished has capacity 1. It holds a value if a date has finished since the last look.
	finished chan struct{}
	// notified has capacity 1. It holds a value if a notification has arrived and was not forwarded yet.
	notified chan struct{}
	// landed rings when this process has landed changes. ended, of capacity 1, holds a value if a job of capture has ended too early.
	landed   bell
	ended    chan struct{}
	self     presence.Worker
	jobTable string // River's jobs, quoted, with their schema
	mostFew  int64  // events of a date that may be in a group
	groups   groupRest
	server   *clock.Clock    // Postgres's
	source   postgres.Source // where events are read: db, a follower, or several
	governor *pace.Governor  // nil if the pace never changes
	// installation is compared with what is installed; faults holds the time at which each fault was last reported.
	installation schema.Installation
	faults       map[string]time.Time
	// listeners receive signals after their transactions commit.
	listeners telemetry.Listeners
}

// poke makes the reconciler look immediately.
func (r *reconciler) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// finish makes the reconciler look soon, because a date has finished.
func (r *reconciler) finish() {
	select {
	case r.finished <- struct{}{}:
	default:
	}
}

// reason is why the reconciler looks.
type reason int

const (
	ended    reason = iota // It looks no more.
	poked                  // Something has happened.
	dateDone               // A date has finished.
	waited                 // Some time has passed.
)

// run looks after every poke, soon after a date has finished, and at least once a second, until ctx is done.
func (r *reconciler) run(ctx context.Context) {
	maintained, wait, why := time.Time{}, time.Duration(0), poked
	for why != ended {
		now := r.clock.Now()
		maintain := now.Sub(maintained) >= maintainEvery || now.Before(maintained)
		if maintain {
			maintained = now
		}
		found, err := r.look(ctx, maintain)
		if err != nil && ctx.Err() == nil {
			r.logger.WarnContext(ctx, "the reconciler will try again", slog.String("error", err.Error()))
		}
		rest := time.Duration(0)
		if why == dateDone && len(found.jobs) <= little && len(found.signals) == 0 {
			rest = resting * r.clock.Now().Sub(now)
		}
		if why != waited {
			wait = 0
		}
		if found.rests {
			wait = min(reconcileEvery, max(soonest, wait+wait/2))
		} else {
			wait = reconcileEvery
		}
		why = r.await(ctx, wait, rest)
	}
}

// await waits until the reconciler should look again. A finished date is a reason only after rest.
func (r *reconciler) await(ctx context.Context, wait, rest time.Duration) reason {
	over := time.NewTimer(wait)
	defer over.Stop()
	finished, rested := r.finished, (<-chan time.Time)(nil)
	if rest > 0 {
		timer := time.NewTimer(rest)
		defer timer.Stop()
		finished, rested = nil, timer.C
	}
	for {
		select {
		case <-ctx.Done():
			return ended
		case <-rested:
			finished = r.finished
		case <-finished:
			return dateDone
		case <-r.wake:
			return poked
		case <-over.C:
			return waited
		}
	}
}

// look makes one pass over everything that the reconciler does: see [reconciler.chores] and [reconciler.steps].
func (r *reconciler) look(ctx context.Context, maintain bool) (found pass, err error) {
	now, needed := r.clock.Now(), false
	err = r.db.Read(ctx, func(on postgres.DBTX) (err error) {
		needed, err = db.New(on).ReconcileNeeded(ctx, now)
		return err
	})
	r.outage.Report(ctx, now, err)
	if err != nil {
		return pass{}, fmt.Errorf("look for requests: %w", err)
	}
	if maintain {
		for _, chore := range r.chores() {
			if err := chore(ctx); err != nil {
				return pass{}, err
			}
		}
	}
	if !needed && !maintain {
		return pass{}, nil
	}
	err = r.db.Tx(ctx, func(tx pgx.Tx) error {
		found = pass{now: now, tx: tx, queries: db.New(tx)}
		mine, err := found.queries.ReconcileLock(ctx, reconcileKey)
		if err != nil || !mine {
			return err
		}
		for _, step := range r.steps() {
			if step.maintenance && !maintain {
				continue
			}
			if err := step.do(ctx, &found); err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return pass{}, err
	}
	for _, one := range found.signals {
		telemetry.Tell(ctx, r.listeners, one)
	}
	if len(found.jobs) == 0 {
		return found, nil
	}
	return found, r.insert(ctx, found.jobs)
}

// forget records that this worker process has stopped.
func (r *reconciler) forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, forgetTimeout)
	defer cancel()
	return r.db.Tx(ctx, func(tx pgx.Tx) error { return presence.Forget(ctx, tx, r.self.Name) })
}

// dayJob is a job that a date needs.
type dayJob struct {
	date     date.Date
	priority int
	along    []date.Date // dates that the same job may roll up: see package run
}

// enqueue creates jobs for dates that need one of their own.
func (r *reconciler) enqueue(ctx context.Context, dates []date.Date, priority int) error {
	if len(dates) == 0 {
		return nil
	}
	all := make([]dayJob, len(dates))
	for i, d := range dates {
		all[i] = dayJob{date: d, priority: priority}
	}
	return r.insert(ctx, all)
}

// insert creates jobs for dates, in one statement if nothing is locked. If an application's open transaction has inserted a
// job of one of them, insert leaves that date for later and inserts the others one by one.
func (r *reconciler) insert(ctx context.Context, all []dayJob) error {
	err := r.insertTx(ctx, all)
	if !postgres.IsLockTimeout(err) {
		return err
	}
	for i := range all {
		if err := r.insertTx(ctx, all[i:i+1]); err != nil && !postgres.IsLockTimeout(err) {
			return err
		}
	}
	return nil
}

func (r *reconciler) insertTx(ctx context.Context, all []dayJob) error {
	params := make([]river.InsertManyParams, len(all))
	for i, one := range all {
		metadata, err := one.metadata()
		if err != nil {
			return fmt.Errorf("mark jobs: %w", err)
		}
		params[i] = river.InsertManyParams{
			Args:       jobs.RollupDayArgs{Date: one.date},
			InsertOpts: &river.InsertOpts{Priority: one.priority, Metadata: metadata},
		}
	}
	var inserted []*rivertype.JobInsertResult
	err := r.db.Tx(ctx, func(tx pgx.Tx) (err error) {
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"lock_timeout": insertLockTimeout}); err != nil {
			return err
		}
		if inserted, err = r.client.InsertManyTx(ctx, tx, params); err != nil {
			return fmt.Errorf("insert jobs: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, one := range all {
		if !inserted[i].UniqueSkippedAsDuplicate { // Otherwise the date already had a job.
			telemetry.Tell(ctx, r.listeners, signal.RequestEnqueue{Date: one.date, Priority: one.priority})
		}
	}
	return nil
}

// listen pokes the reconciler whenever a request commits. If it cannot listen, behind a pooler in transaction mode or while
// the connection is lost, the reconciler sees requests within a second.
func (r *reconciler) listen(ctx context.Context) {
	if r.db.Pooled() {
		return
	}
	for ctx.Err() == nil {
		err := r.listenOnce(ctx)
		if ctx.Err() == nil {
			r.logger.DebugContext(ctx, "listening again", slog.String("error", err.Error()))
			_ = r.clock.Sleep(ctx, reconcileEvery) // It only fails if ctx is done.
		}
	}
}

func (r *reconciler) listenOnce(ctx context.Context) error {
	conn, err := r.db.Acquire(ctx)
	if err != nil {
		return err
	}
	// A connection that listens does not go back to the pool.
	dedicated := conn.Hijack()
	defer dedicated.Close(context.WithoutCancel(ctx))
	if _, err := dedicated.Exec(ctx, "LISTEN "+requestChannel); err != nil {
		return err
	}
	for {
		if _, err := dedicated.WaitForNotification(ctx); err != nil {
			return err
		}
		select {
		case r.notified <- struct{}{}:
		default:
		}
	}
}

// forward pokes for notifications: at once for the first, and once for all that arrive during the rest after it. So a
// thousand requests that are committed one by one do not cause a thousand looks in every worker process.
func (r *reconciler) forward(ctx context.Context, rest func(context.Context)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.notified:
		}
		r.poke()
		rest(ctx)
	}
}

// restFor returns a function that sleeps for d, or until its context is done.
func restFor(d time.Duration) func(context.Context) {
	return func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
}
