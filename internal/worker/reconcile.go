package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/jobs"
)

const (
	// reconcileEvery is how soon an open request is seen where nobody can listen for it.
	reconcileEvery = time.Second
	// maintainEvery is how often dead workers' jobs and a missed schedule are looked for although nothing is asked.
	maintainEvery = 30 * time.Second
	// touchAfter is how old the attempted_at of a job may be whose run is alive.
	touchAfter = time.Minute
	// scheduleGrace is how late a periodic job may be before it is taken for missed: the elected leader may be a client
	// of the application's own, which does not know Daymill's periodic jobs.
	scheduleGrace = 2 * time.Minute
	// watchRest is how long a request of the triggers on the source rests before a job is made of it. A trickle of late
	// events then costs a run every half minute at most, and not one after another.
	watchRest = 30 * time.Second
	// reconcileDates is the most jobs that one look makes.
	reconcileDates = 500
	// faultEvery is how often a fault that lasts is told of.
	faultEvery = time.Minute
	// insertLockTimeout is how long an insert waits for another transaction that has inserted a job of the same date
	// and is still open.
	insertLockTimeout = "100ms"

	// notifiedEvery is how soon after a notification the next one is heeded.
	notifiedEvery = 100 * time.Millisecond
	// forgetTimeout is how long a worker that has stopped waits for the ledger.
	forgetTimeout = 2 * time.Second

	reconcileKey   = 6_107_330_083 // of an advisory lock; arbitrary
	requestChannel = "daymill_request"
)

// reconciler turns open requests into jobs: it runs in every worker process, and any one of them suffices. It also
// moves backfills on and hands jobs of dead workers to others.
type reconciler struct {
	db      *postgres.DB
	client  *river.Client[pgx.Tx]
	clock   pace.Clock
	zone    *time.Location
	planner *schedule.Planner
	logger  *slog.Logger
	silence time.Duration // see Config.Silence
	wake    chan struct{} // of capacity 1
	// notified, of capacity 1, has that a notification came that was not forwarded yet.
	notified chan struct{}
	self     ledger.Worker
	// installation is compared with what is installed; faults has when each fault was last told.
	installation schema.Installation
	faults       map[string]time.Time
	// listeners are told of what was committed.
	listeners telemetry.Listeners
}

// poke makes the reconciler look at once.
func (r *reconciler) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run looks whenever something is asked, and once a second, until ctx is done.
func (r *reconciler) run(ctx context.Context) {
	ticker := time.NewTicker(reconcileEvery)
	defer ticker.Stop()
	maintained := time.Time{}
	for {
		now := r.clock.Now()
		maintain := now.Sub(maintained) >= maintainEvery || now.Before(maintained)
		if maintain {
			maintained = now
		}
		if err := r.look(ctx, maintain); err != nil && ctx.Err() == nil {
			r.logger.WarnContext(ctx, "the reconciler will try again", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-ticker.C:
		}
	}
}

// look does what there is to do.
func (r *reconciler) look(ctx context.Context, maintain bool) error {
	now, needed := r.clock.Now(), false
	err := r.db.Read(ctx, func(on postgres.DBTX) (err error) {
		needed, err = db.New(on).ReconcileNeeded(ctx, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("look for requests: %w", err)
	}
	if maintain {
		err := r.db.Tx(ctx, func(tx pgx.Tx) error { return ledger.SeeWorker(ctx, tx, r.self) })
		if err != nil {
			return err
		}
		r.inspect(ctx)
		if err := r.catchUp(ctx); err != nil {
			return err
		}
	}
	if !needed && !maintain {
		return nil
	}
	var dates []db.ReconcileDatesRow
	var rescued []date.Date
	var moved []telemetry.Event
	err = r.db.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		mine, err := queries.ReconcileLock(ctx, reconcileKey)
		if err != nil || !mine {
			return err
		}
		rescued, err = queries.ReconcileRescue(ctx, r.silence)
		if err != nil {
			return fmt.Errorf("rescue jobs of dead workers: %w", err)
		}
		if maintain {
			if _, err := queries.WatchSettle(ctx); err != nil {
				return fmt.Errorf("ask for what watches could not: %w", err)
			}
			if _, err := queries.ReconcileTouch(ctx, db.ReconcileTouchParams{Silence: r.silence, Older: touchAfter}); err != nil {
				return fmt.Errorf("say that jobs are alive: %w", err)
			}
		}
		if moved, err = backfill.Advance(ctx, tx); err != nil {
			return err
		}
		if _, err := queries.ReconcilePromote(ctx, db.ReconcilePromoteParams{AtInstant: now, Silence: r.silence}); err != nil {
			return fmt.Errorf("bring jobs forward: %w", err)
		}
		dates, err = queries.ReconcileDates(ctx, db.ReconcileDatesParams{
			AtInstant: now, Silence: r.silence, RestedSince: now.Add(-watchRest), MaxRows: reconcileDates,
		})
		if err != nil {
			return fmt.Errorf("look for dates without a job: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, day := range rescued {
		telemetry.Tell(ctx, r.listeners, telemetry.RunRescue{Date: day})
	}
	for _, event := range moved {
		telemetry.Tell(ctx, r.listeners, event)
	}
	if len(dates) == 0 {
		return nil
	}
	return r.insert(ctx, dates)
}

// inspect tells of what is not as it should be though runs succeed, when it is first seen and once a minute from then on.
// That it cannot look keeps it from nothing else.
func (r *reconciler) inspect(ctx context.Context) {
	found, err := source.Faults(ctx, r.db, r.installation)
	if err != nil {
		r.logger.WarnContext(ctx, "what is installed could not be looked at", slog.String("error", err.Error()))
		return
	}
	now, told := r.clock.Now(), make(map[string]time.Time, len(found))
	for _, fault := range found {
		at, is := r.faults[fault]
		if !is || now.Sub(at) >= faultEvery || now.Before(at) {
			telemetry.Tell(ctx, r.listeners, telemetry.Fault{Sentence: fault})
			at = now
		}
		told[fault] = at
	}
	r.faults = told
}

// forget takes the worker process out of the ledger: it has stopped.
func (r *reconciler) forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, forgetTimeout)
	defer cancel()
	return r.db.Tx(ctx, func(tx pgx.Tx) error { return ledger.ForgetWorker(ctx, tx, r.self.Name) })
}

// insert makes jobs of dates, in one statement where nobody is in the way. Where an application's open transaction has
// inserted a job of one of them, that date is left until it ends, and the others are inserted one by one.
func (r *reconciler) insert(ctx context.Context, dates []db.ReconcileDatesRow) error {
	err := r.insertTx(ctx, dates)
	if !postgres.IsLockTimeout(err) {
		return err
	}
	for i := range dates {
		if err := r.insertTx(ctx, dates[i:i+1]); err != nil && !postgres.IsLockTimeout(err) {
			return err
		}
	}
	return nil
}

func (r *reconciler) insertTx(ctx context.Context, dates []db.ReconcileDatesRow) error {
	// The mark tells the trigger on River's jobs that this job is made of a request, and is none.
	metadata, err := json.Marshal(map[string]string{"daymill": "request"})
	if err != nil {
		return fmt.Errorf("mark jobs: %w", err)
	}
	params := make([]river.InsertManyParams, len(dates))
	for i, d := range dates {
		params[i] = river.InsertManyParams{
			Args:       jobs.RollupDayArgs{Date: d.MetricDate},
			InsertOpts: &river.InsertOpts{Priority: int(d.Priority), Metadata: metadata},
		}
	}
	var inserted []*rivertype.JobInsertResult
	err = r.db.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+insertLockTimeout+"'"); err != nil {
			return fmt.Errorf("limit waiting: %w", err)
		}
		if inserted, err = r.client.InsertManyTx(ctx, tx, params); err != nil {
			return fmt.Errorf("insert jobs: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, d := range dates {
		if !inserted[i].UniqueSkippedAsDuplicate { // Else it had a job after all.
			telemetry.Tell(ctx, r.listeners, telemetry.RequestEnqueue{Date: d.MetricDate, Priority: int(d.Priority)})
		}
	}
	return nil
}

// catchUp inserts the daily jobs that are overdue: nobody has inserted them at their hour.
func (r *reconciler) catchUp(ctx context.Context) error {
	for _, kind := range Kinds() {
		if !kind.Daily {
			continue
		}
		overdue, err := r.planner.Overdue(ctx, kind.Name, scheduleGrace)
		if err == nil && overdue && kind.NeedsSource {
			overdue, err = source.Exists(ctx, r.db)
		}
		if err != nil {
			return err
		}
		if !overdue {
			continue
		}
		if _, err := r.client.Insert(ctx, kind.insert(), nil); err != nil {
			return fmt.Errorf("insert the job %s: %w", kind.Name, err)
		}
	}
	return nil
}

// listen takes note whenever a request commits. Without it, behind a pooler in transaction mode or while the connection is
// lost, requests are seen within a second.
func (r *reconciler) listen(ctx context.Context) {
	if r.db.Pooled() {
		return
	}
	for ctx.Err() == nil {
		err := r.listenOnce(ctx)
		if ctx.Err() == nil {
			r.logger.DebugContext(ctx, "listening again", slog.String("error", err.Error()))
			_ = r.clock.Sleep(ctx, reconcileEvery) // Its error is that ctx is done.
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

// forward pokes for notifications, the first at once and those that come during the rest after it together: whoever
// commits a thousand requests one by one does not have each of them looked for in every worker process.
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

// restFor returns a rest.
func restFor(d time.Duration) func(context.Context) {
	return func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
}
