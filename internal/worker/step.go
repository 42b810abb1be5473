package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/telemetry"
)

// pass holds what the steps of one look share.
type pass struct {
	now     time.Time
	tx      pgx.Tx
	queries *db.Queries

	dates   []db.ReconcileDatesRow // dates without a job
	jobs    []dayJob               // jobs for them
	rests   bool                   // no date needs a job, but one does once it has rested
	signals []telemetry.Signal     // sent after the transaction has committed
}

// step is a part of a look.
type step struct {
	name string // for errors: what it does
	// maintenance reports that the step runs only every half minute.
	maintenance bool
	do          func(ctx context.Context, p *pass) error
}

// chores returns what every process does for itself every half minute. Each uses its own transactions.
func (r *reconciler) chores() []func(ctx context.Context) error {
	return []func(ctx context.Context) error{r.inspect, r.catchUp}
}

// steps returns what one process at a time does, in one transaction. The order matters: a backfill requests dates, requests bring
// jobs forward, and requested dates without a job then get one.
func (r *reconciler) steps() []step {
	return []step{
		{name: "rescue jobs of dead workers", do: func(ctx context.Context, p *pass) error {
			rescued, err := p.queries.ReconcileRescue(ctx, r.silence)
			for _, day := range rescued {
				p.signals = append(p.signals, signal.RunRescue{Date: day})
			}
			return err
		}},
		{name: "request dates that watches could not request", maintenance: true, do: func(ctx context.Context, p *pass) error {
			_, err := p.queries.WatchSettle(ctx)
			return err
		}},
		{name: "request what gaps hide", maintenance: true, do: func(ctx context.Context, p *pass) error {
			gaps, err := p.queries.LateGaps(ctx, KindRollup)
			if err != nil || gaps == 0 {
				return err
			}
			return source.RequestEvery(ctx, p.tx)
		}},
		{name: "repair the effects of a wrong clock", maintenance: true, do: func(ctx context.Context, p *pass) error {
			return r.right(ctx, p.queries)
		}},
		{name: "mark jobs as alive", maintenance: true, do: func(ctx context.Context, p *pass) error {
			_, err := p.queries.ReconcileTouch(ctx, db.ReconcileTouchParams{Silence: r.silence, Older: touchAfter})
			return err
		}},
		{name: "advance backfills", do: func(ctx context.Context, p *pass) error {
			moved, err := backfill.Advance(ctx, p.tx)
			p.signals = append(p.signals, moved...)
			return err
		}},
		{name: "bring jobs forward", do: func(ctx context.Context, p *pass) error {
			_, err := p.queries.ReconcilePromote(ctx, db.ReconcilePromoteParams{AtInstant: p.now, Silence: r.silence})
			return err
		}},
		{name: "look for dates without a job", do: func(ctx context.Context, p *pass) (err error) {
			p.dates, err = p.queries.ReconcileDates(ctx, db.ReconcileDatesParams{
				AtInstant: p.now, Silence: r.silence, Rests: watchRests, MaxRows: reconcileDates,
			})
			if err != nil || len(p.dates) > 0 {
				return err
			}
			rest, err := p.queries.ReconcileDates(ctx, db.ReconcileDatesParams{AtInstant: p.now, Silence: r.silence, Rests: 0, MaxRows: 1})
			p.rests = len(rest) > 0
			return err
		}},
		{name: "put small dates into groups", do: r.gather},
	}
}

// inspect records that this worker is alive, and its problems. It reports problems, and faults that do not make runs fail, when
// it first sees them and once a minute after that. If the faults cannot be read, the rest of the look continues.
func (r *reconciler) inspect(ctx context.Context) error {
	troubles := r.examine(ctx)
	if r.governor != nil {
		current, reason := r.governor.State()
		r.self.CurrentPace, r.self.PaceReason = &current, reason
	}
	err := r.db.Tx(ctx, func(tx pgx.Tx) error { return presence.See(ctx, tx, r.self) })
	if err != nil {
		return err
	}
	found, err := r.installedFaults(ctx)
	if err != nil {
		r.logger.WarnContext(ctx, "cannot check what is installed", slog.String("error", err.Error()))
		return nil
	}
	found = append(found, troubles...)
	now, told := r.clock.Now(), make(map[string]time.Time, len(found))
	for _, fault := range found {
		at, is := r.faults[fault]
		if !is || now.Sub(at) >= faultEvery || now.Before(at) {
			telemetry.Tell(ctx, r.listeners, Fault{Sentence: fault})
			at = now
		}
		told[fault] = at
	}
	r.faults = told
	return nil
}

// installedFaults compares what is installed with what should be, unless another worker has done so within the last maintainEvery. It takes more
// of the server's time than everything else that an idle worker asks.
func (r *reconciler) installedFaults(ctx context.Context) (found []string, err error) {
	var mine bool
	err = r.db.Tx(ctx, func(tx pgx.Tx) error {
		mine, err = presence.Inspect(ctx, tx, r.self.Name, maintainEvery-inspectEarly)
		return err
	})
	if err != nil || !mine {
		return nil, err
	}
	if err := source.RecordReads(ctx, r.db); err != nil {
		return nil, err
	}
	return source.Faults(ctx, r.db, r.installation)
}

// catchUp inserts overdue daily jobs that nobody has inserted at their hour.
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
		inserted, err := r.client.Insert(ctx, kind.insert(), nil)
		if err != nil {
			return fmt.Errorf("insert the job %s: %w", kind.Name, err)
		}
		// A process whose clock was ahead may have scheduled the same job for later. Bring that job forward instead.
		if job := inserted.Job; inserted.UniqueSkippedAsDuplicate && job.ScheduledAt.Sub(r.clock.Now()) > scheduleGrace {
			if _, err := r.client.JobRetry(ctx, job.ID); err != nil {
				return fmt.Errorf("bring the job %s forward: %w", kind.Name, err)
			}
		}
	}
	return nil
}
