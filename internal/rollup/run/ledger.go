package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/batch"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/rollup/slice"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/telemetry"
)

const (
	// ledgerLimit is the time limit of a statement on the ledger. Each touches a few rows.
	ledgerLimit = 5 * time.Second
	// mostRequests is how many requests one statement claims or resolves at most.
	mostRequests = 5_000
)

// ledger runs a transaction on the ledger.
func (a *active) ledger(ctx context.Context, do func(ctx context.Context, queries *db.Queries) error) error {
	return a.pair.Tx(ctx, ledgerLimit, func(ctx context.Context, on postgres.DBTX) error { return do(ctx, db.New(on)) })
}

// held runs a transaction on the ledger that begins with the fence.
func (a *active) held(ctx context.Context, do func(ctx context.Context, queries *db.Queries) error) error {
	return a.lease.Do(ctx, do)
}

// unit is the date of a run.
type unit struct{ date date.Date }

// Heartbeat checks the fence of a date: see [lease.Unit].
func (u unit) Heartbeat(ctx context.Context, queries *db.Queries, term lease.Term, beat int64) (int64, error) {
	return queries.DateHeartbeat(ctx, db.DateHeartbeatParams{MetricDate: u.date, RunID: term.ID, Token: term.Token, Beat: beat})
}

// batches returns how many batches of this run are committed; each moved the cursor.
func (a *active) batches() int { return a.publisher.Batches }

// begin takes the date for this run, or returns why it may not have it. If the date may be small, it reads the date's events in the same
// transaction. If that does not succeed at once, begin takes the date without reading anything.
func (a *active) begin(ctx context.Context) error {
	if !a.pair.Follows() {
		err := a.take(ctx, pace.Limit, a.readFew)
		if !errors.Is(err, errNotFew) && !postgres.IsTimeout(err) {
			return err
		}
	}
	return a.take(ctx, ledgerLimit, nil)
}

// take is begin with a time limit for each statement. If read is not nil, take calls it in the transaction once the run has begun.
//
// The commit need not be on disk: if a crash of Postgres undoes it, the date does not belong to this run, which finds that out before it writes
// anything else, and the requests are open, so the date is rolled up again. Nobody was told more than that a run has begun.
func (a *active) take(ctx context.Context, limit time.Duration, read func(ctx context.Context, queries *db.Queries) error) error {
	sound := true
	err := a.pair.Primary.Lazy(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
		queries := db.New(on)
		a.few = nil
		found, err := queries.DateTake(ctx, db.DateTakeParams{
			MetricDate: a.order.Date, NextDate: a.order.Date.AddDays(1), Silence: cmp.Or(a.Options.Silence, lease.Silence),
		})
		if err != nil {
			return fmt.Errorf("lock the date: %w", err)
		}
		if sound = found.Sound; !sound {
			return errUnsound
		}
		a.bounds = date.Bounds{From: found.FromInstant, To: found.ToInstant}
		if !found.Over || a.bounds.To.After(a.Clock.Now()) {
			return ErrNotOver
		}
		if !found.Requested {
			return ErrNothingToDo
		}
		began, err := a.takeOver(ctx, queries, found)
		if err != nil || read == nil || !a.mayBeFew(found, began) {
			return err
		}
		return read(ctx, queries)
	})
	if !sound {
		if reason := source.Ready(ctx, a.Primary); reason != nil {
			return reason
		}
	}
	return err
}

// errUnsound means that the source was changed a moment ago.
var errUnsound = errors.New("analytics.events was changed while a run began; the next attempt reads what it is now")

// fresh reports whether any of the date's open requests is newer than its last run's claim.
func (a *active) fresh(ctx context.Context, queries *db.Queries) (bool, error) {
	open, err := queries.RequestOpen(ctx, a.order.Date)
	if err != nil {
		return false, fmt.Errorf("look for requests: %w", err)
	}
	return open.Unclaimed, nil
}

// takeOver replaces the date's last run by this one. It resumes what that run has published within the last ten minutes,
// unless requests have arrived since: those need a scan from the start, which then serves all requests.
func (a *active) takeOver(ctx context.Context, queries *db.Queries, row db.DateTakeRow) (began db.RunBeginRow, err error) {
	last := lease.Last{
		Attempt: lease.Attempt{JobID: row.JobID, Number: int(row.Attempt)},
		Alive:   row.Alive, Recent: row.Recent, Moved: row.Cursor != nil,
	}
	if !last.Free(lease.Attempt{JobID: a.order.JobID, Number: a.order.Attempt}) {
		return began, fmt.Errorf("%w by run %d of worker %s", ErrBusy, row.RunID, row.Worker)
	}
	a.partitioned = row.Partitioned
	a.before = before{complete: row.State == "complete", totals: batch.Totals{Events: row.Events, Entities: row.Entities}}
	if err := a.replace(ctx, queries, row); err != nil {
		return began, err
	}
	var totals batch.Totals
	var resumed, scanRun *int64
	a.cursor = nil
	// Late events that nobody has reported may be below the cursor: after a longer pause the scan starts from the beginning.
	if last.Resumable(false) {
		fresh, err := a.fresh(ctx, queries)
		if err != nil {
			return began, err
		}
		if last.Resumable(fresh) {
			resumed, scanRun, a.cursor = &row.RunID, &row.ScanRunID, row.Cursor
			totals = batch.Totals{Events: row.CursorEvents, Entities: row.CursorEntities}
		}
	}
	var attemptNumber *int32
	if a.order.JobID != nil {
		n := int32(a.order.Attempt) //nolint:gosec // River's own is a smallint.
		attemptNumber = &n
	}
	began, err = queries.RunBegin(ctx, db.RunBeginParams{
		MetricDate: a.order.Date, JobID: a.order.JobID, Attempt: attemptNumber, Worker: a.Options.Worker,
		ResumedRunID: resumed, ScanRunID: scanRun, MaxRows: mostRequests, AtInstant: a.Clock.Now(),
		MostEntities: smallScope + 1,
	})
	if err != nil {
		return began, fmt.Errorf("hand the date over: %w", err)
	}
	// While this run waited for the lock, its holder may have settled. If this run began anyway and then broke off, a complete date
	// would stay behind as running, with no request to bring another run.
	if began.Claimed == 0 && resumed == nil {
		return began, ErrNothingToDo
	}
	a.id, a.resumed, a.claimed, a.servers.primary = began.ID, resumed, began.Claimed, began.ServerStartedAt
	a.lease = &lease.Lease{
		Unit: unit{a.order.Date}, Term: lease.Term{ID: began.ID, Token: began.Token}, Clock: a.Clock, Transact: a.ledger, Moves: a.batches,
	}
	a.scanRun = a.id
	if scanRun != nil {
		a.scanRun = *scanRun
	}
	a.scanner = &slice.Scanner{
		Session: a.pair.Source, Type: a.Type, Pacer: a.pacer, Counts: a.Options.SliceCounts, Run: a.run(), Listeners: a.Listeners,
	}
	a.publisher = &batch.Publisher{
		Reader:  batch.Reader{Session: a.pair.Primary, Type: a.Type, Pacer: a.pacer, Date: a.order.Date, Totals: totals},
		Advance: a.advance, Run: a.run(), Listeners: a.Listeners,
	}
	return began, nil
}

// replace records that the date's last run was lost, if it did not end. Its worker may have been killed because it used too
// much memory, so this run takes a quarter of the entities at a time, and less with each run that was lost before.
func (a *active) replace(ctx context.Context, queries *db.Queries, last db.DateTakeRow) error {
	a.maxEntities = cmp.Or(a.Options.MaxEntities, merge.DefaultMaxEntities)
	if last.State != "running" {
		return nil
	}
	lost, err := queries.RunLost(ctx, a.order.Date)
	if err != nil {
		return fmt.Errorf("count the runs that were lost: %w", err)
	}
	a.maxEntities = min(a.maxEntities, max(merge.MinMaxEntities, a.maxEntities>>(2*(lost+1))))
	err = queries.RunLose(ctx, db.RunLoseParams{ID: last.RunID, Error: fmt.Sprintf("its worker gave no sign of life; in case it was "+
		"killed because it used too much memory, the next run keeps %d entities in memory at a time", a.maxEntities)})
	if err != nil {
		return fmt.Errorf("end the last run: %w", err)
	}
	return nil
}

// claim claims the requests that are open when the scan begins, as far as the run has not done so when it began: a statement claims only so many.
// A run that resumes leaves them to the next run: the entities below its cursor were counted before the requests arrived.
func (a *active) claim(ctx context.Context) error {
	if a.scanRun != a.id {
		return nil
	}
	telemetry.Tell(ctx, a.Listeners, signal.RequestClaim{Run: a.run(), Requests: a.claimed})
	for claimed := a.claimed; claimed == mostRequests; {
		err := a.held(ctx, func(ctx context.Context, queries *db.Queries) (err error) {
			claimed, err = queries.RequestClaim(ctx, db.RequestClaimParams{
				RunID: a.id, MetricDate: a.order.Date, MaxRows: mostRequests,
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("claim requests: %w", err)
		}
		telemetry.Tell(ctx, a.Listeners, signal.RequestClaim{Run: a.run(), Requests: claimed})
	}
	return nil
}

// advance is the first step of a batch's transaction.
func (a *active) advance(ctx context.Context, queries *db.Queries, upTo entity.ID, totals batch.Totals) error {
	err := lease.Fenced(queries.DateAdvance(ctx, db.DateAdvanceParams{
		UpToEntity: a.Type.Format(upTo), Events: totals.Events, Entities: totals.Entities,
		MetricDate: a.order.Date, RunID: a.id, Token: a.lease.Term.Token, Beat: a.lease.Signs(),
	}))
	if err != nil {
		return fmt.Errorf("move the cursor: %w", err)
	}
	return nil
}

// signOfLife writes the run's heartbeat and progress to the ledger about once a second. So a run that was replaced also
// notices while it writes nothing.
func (a *active) signOfLife(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	a.tellProgress()
	if a.lease == nil || !a.lease.Due() { // Nothing is held before the run begins.
		return nil
	}
	err := a.lease.Once(ctx, func(ctx context.Context, queries *db.Queries, beat int64) (int64, error) {
		p := a.report().row()
		return queries.DateProgress(ctx, db.DateProgressParams{
			MetricDate: a.order.Date, RunID: a.id, Token: a.lease.Term.Token, Beat: beat, Phase: p.Phase, Progress: p.Progress,
			Events: p.Events, Entities: p.Entities, RowsInserted: p.RowsInserted, RowsUpdated: p.RowsUpdated, RowsDeleted: p.RowsDeleted,
			Passes: p.Passes, Slices: p.Slices, Batches: p.Batches, LongestStatementMs: p.LongestStatementMs, WorkedMs: p.WorkedMs, PausedMs: p.PausedMs,
		})
	})
	if err != nil {
		return fmt.Errorf("give a sign of life: %w", err)
	}
	return nil
}

// settle satisfies the requests that were claimed when the scan began and marks the date complete.
func (a *active) settle(ctx context.Context) error {
	a.phase, a.progress = PhaseSettle, 1
	a.publisher.Alive = func() error { return a.signOfLife(ctx) }
	if a.scoped == nil {
		if err := a.checkStored(ctx); err != nil {
			return err
		}
	}
	if a.known.Erase {
		if err := a.recordErased(ctx); err != nil {
			return err
		}
	}
	for resolved := int64(mostRequests); resolved == mostRequests; {
		err := a.held(ctx, func(ctx context.Context, queries *db.Queries) (err error) {
			resolved, err = queries.RequestSatisfy(ctx, db.RequestSatisfyParams{
				MetricDate: a.order.Date, RunID: a.scanRun, MaxRows: mostRequests,
			})
			if err != nil || resolved == mostRequests {
				return err
			}
			return a.complete(ctx, queries)
		})
		if err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		telemetry.Tell(ctx, a.Listeners, signal.RequestSatisfy{Run: a.run(), Requests: resolved})
	}
	return nil
}

func (a *active) complete(ctx context.Context, queries *db.Queries) error {
	err := lease.Fenced(queries.DateComplete(ctx, db.DateCompleteParams{
		RunID: a.id, Events: a.publisher.Totals.Events, Entities: a.publisher.Totals.Entities, MetricDate: a.order.Date,
		Token: a.lease.Term.Token, Beat: a.lease.Signs(),
	}))
	if err != nil {
		return err
	}
	if err := a.recordTop(ctx, queries); err != nil {
		return err
	}
	if err := a.recordTypes(ctx, queries); err != nil {
		return err
	}
	if a.scoped != nil || a.widened {
		scope := int32(len(a.scoped)) //nolint:gosec // At most mostScope.
		if err := queries.RunScope(ctx, db.RunScopeParams{ID: a.id, Scope: scope}); err != nil {
			return err
		}
	}
	if err := queries.RunProgress(ctx, a.report().row()); err != nil {
		return err
	}
	return queries.RunFinish(ctx, db.RunFinishParams{ID: a.id, State: "complete"})
}

// breakOff records why the run did not complete, and returns the reason. A fenced run writes nothing more, not even that: the
// run that replaced it has recorded it as lost.
func (a *active) breakOff(ctx context.Context, reason error) error {
	if errors.Is(reason, lease.ErrFenced) {
		return reason
	}
	if errors.Is(reason, ErrProtected) {
		return a.protect(ctx, reason)
	}
	state, message := "failed", postgres.Text(reason)
	var text *string
	if ctx.Err() != nil {
		state = "interrupted"
	} else {
		text = &message
	}
	err := a.held(ctx, func(ctx context.Context, queries *db.Queries) error {
		err := queries.DateBreakOff(ctx, db.DateBreakOffParams{
			State: state, MetricDate: a.order.Date, RunID: a.id, Token: a.lease.Term.Token, Beat: a.lease.Signs(),
		})
		if err != nil {
			return err
		}
		if err := queries.RunProgress(ctx, a.report().row()); err != nil {
			return err
		}
		return queries.RunFinish(ctx, db.RunFinishParams{ID: a.id, State: state, Error: text})
	})
	if err != nil {
		// The ledger cannot be reached. It will find that the run has gone silent.
		return fmt.Errorf("%w (and it could not be recorded: %w)", reason, err)
	}
	return reason
}
