// Package verification counts a date's events again and compares the counts with the stored rows, entity by entity. It reads as a
// run does, with the same slices, passes and pauses, and writes only to the ledger:
//
//	begin    find the rows to compare: those of the last complete run
//	protect  metrics whose events are gone cannot be compared, package protection
//	scan     slice after slice, package slice
//	merge    in bounded memory, package merge; a date that does not fit is scanned and compared in several passes
//	compare  with the stored rows, package batch
//	judge    lock the date; if nothing has changed in the meantime, a date that differs is stale
//
// `daymill verify` and the job verify_dates call [Verifier.Verify]; the job runs every day, and when somebody enqueues it. [List]
// returns the results.
package verification

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/batch"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/metric"
	"github.com/daymill/daymill/internal/rollup/protection"
	"github.com/daymill/daymill/internal/rollup/replay"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/rollup/slice"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/telemetry"
)

// Results of a verification.
const (
	Exact   = "exact"   // every row matches its entity's events
	Drifted = "drifted" // some rows do not match, and nobody has requested the date in the meantime
	// Changed says that the date was not judged: a run has begun in the meantime, or rows differ and a run is requested.
	Changed   = "changed"
	Protected = "protected" // the events are gone, so there is nothing to compare with
	// Incomplete says that no run has completed the date, or a run is working, so there is nothing to compare. It is not
	// recorded.
	Incomplete = "incomplete"
)

// Repair says which dates that have drifted a verification requests a rollup of.
type Repair int

// Values of Repair.
const (
	RepairNone Repair = iota
	// RepairGains leaves a date alone if it has fewer events than its last complete run counted. Retention may have dropped
	// some, and a rollup would erase metrics that cannot be counted again.
	RepairGains
	// RepairAll requests a rollup of these dates, too, and erases such metrics.
	RepairAll
)

// DefaultDrifts is how many entities a result lists by default, and the most that the ledger keeps of a verification.
const DefaultDrifts = 20

const (
	// ledgerLimit is the time limit of a statement on the ledger, which touches a few rows.
	ledgerLimit = 5 * time.Second
	// via and priority are those of a repair's request.
	via      = "verify"
	priority = 2
)

// Options of every verification.
type Options struct {
	Pace        pace.Speed // no pauses if nil
	MaxEntities int        // see merge.New; its default if 0
	// Drifts is how many entities a result lists; DefaultDrifts if 0. Totals include all entities.
	Drifts int
}

// Verifier verifies dates of one database. It is safe for concurrent use.
type Verifier struct {
	Primary *postgres.DB
	// Source is where events are read: the primary or its followers.
	Source  postgres.Source
	Type    entity.Type
	Clock   pace.Clock
	Options Options
	// Listeners receive the signals of verifications; may be empty.
	Listeners telemetry.Listeners
}

// Order says which date to verify, and for whom.
type Order struct {
	Date   date.Date
	Repair Repair
	// By and Via say who requested the verification and how: cli or job. An empty By means the database user.
	By, Via string
	// Progress, if not nil, is called with the phase (scan or compare) and its progress, from 0 to 1.
	Progress func(phase string, progress float64)
}

// verification is a verification in progress.
type verification struct {
	*Verifier

	order   Order
	begun   db.VerificationBeginRow
	bounds  date.Bounds
	pair    *postgres.Pair
	pacer   *pace.Pacer
	scanner *slice.Scanner
	reader  *batch.Reader
	drifted struct{ counted, stored int64 } // the events of entities that have drifted
	result  Result
}

// Verify verifies one date. It returns ctx's cause soon after ctx is done; then it has recorded nothing.
func (v *Verifier) Verify(ctx context.Context, order Order) (Result, error) {
	if err := source.Ready(ctx, v.Primary); err != nil {
		return Result{}, err
	}
	one := &verification{
		Verifier: v, order: order, pacer: &pace.Pacer{Clock: v.Clock, Pace: v.Options.Pace},
		result: Result{Date: order.Date, Drifts: []Drift{}},
	}
	ctx = telemetry.Tell(ctx, v.Listeners, signal.VerifyStart{Date: order.Date})
	started := v.Clock.Now()
	var err error
	if one.pair, err = v.Primary.Pair(ctx, v.Source, context.Cause); err == nil {
		defer one.pair.Release(ctx, ledgerLimit)
		err = one.verify(ctx)
	}
	if err != nil {
		err = fmt.Errorf("verify %s: %w", order.Date, err)
	}
	one.result.Took = v.Clock.Now().Sub(started)
	one.tell(ctx, err)
	return one.result, err
}

func (v *verification) tell(ctx context.Context, err error) {
	r := &v.result
	end := signal.Verify{
		Date: v.order.Date, Result: r.Result, Entities: r.Entities, Drifted: r.DriftedEntities,
		EventsCounted: r.EventsCounted, EventsStored: r.EventsStored, Repair: r.Repair, Duration: r.Took, Err: err,
	}
	switch {
	case err != nil && ctx.Err() != nil:
		end.Result, end.Err = signal.Interrupted, nil
	case err != nil:
		end.Result = ""
	}
	telemetry.Tell(ctx, v.Listeners, end)
}

func (v *verification) verify(ctx context.Context) error {
	begun, err := v.begin(ctx)
	if err != nil || !begun {
		return err
	}
	err = replay.Follow(ctx, v.pair, v.Clock, func(ctx context.Context) error { return v.alive(ctx, "scan", 0) })
	if err != nil {
		return err
	}
	v.scanner = &slice.Scanner{Session: v.pair.Source, Type: v.Type, Pacer: v.pacer}
	v.reader = &batch.Reader{Session: v.pair.Primary, Type: v.Type, Pacer: v.pacer, Date: v.order.Date}
	err = v.count(ctx)
	if errors.Is(err, protection.ErrProtected) {
		v.result = Result{Date: v.order.Date, RunID: v.begun.CompleteRunID, EventsRecorded: v.begun.Events, Result: Protected, Drifts: []Drift{}}
		v.result.Reason = err.Error()
		err = nil
	}
	if err != nil {
		return err
	}
	return v.judge(ctx)
}

// ledger runs a transaction on the ledger.
func (v *verification) ledger(ctx context.Context, do func(ctx context.Context, queries *db.Queries) error) error {
	return v.pair.Tx(ctx, ledgerLimit, func(ctx context.Context, on postgres.DBTX) error { return do(ctx, db.New(on)) })
}

// begin finds what to compare, and reports whether there is anything.
func (v *verification) begin(ctx context.Context) (bool, error) {
	v.result.Result = Incomplete
	err := v.ledger(ctx, func(ctx context.Context, queries *db.Queries) error {
		bounds, err := queries.DateBounds(ctx, db.DateBoundsParams{
			MetricDate: v.order.Date, NextDate: v.order.Date.AddDays(1),
		})
		if err != nil {
			return fmt.Errorf("find the date's bounds: %w", err)
		}
		v.bounds = date.Bounds{From: bounds.FromInstant, To: bounds.ToInstant}
		v.begun, err = queries.VerificationBegin(ctx, v.order.Date)
		return err
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		v.result.Reason = "no run has begun for it"
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the ledger: %w", err)
	}
	v.result.RunID, v.result.EventsRecorded = v.begun.CompleteRunID, v.begun.Events
	switch {
	case v.begun.CompletedAt == nil:
		v.result.Reason = "no run has completed it"
		return false, nil
	case slices.Contains([]string{"complete", "stale", "protected"}, v.begun.State):
		v.result.Result = ""
		return true, nil
	default:
		v.result.Reason = "it is " + v.begun.State
		return false, nil
	}
}

// count scans and compares, pass after pass.
func (v *verification) count(ctx context.Context) error {
	check := func() error {
		_, err := protection.Date{
			Primary: v.pair.Primary, Source: v.pair.Source, Date: v.order.Date, Bounds: v.bounds,
		}.Check(ctx, v.Clock.Now())
		return err
	}
	if err := check(); err != nil {
		return err
	}
	var after *entity.ID
	for {
		fresh := func() *merge.Table { return merge.New(v.Options.MaxEntities) }
		alive := func(done float64) error { return v.alive(ctx, "scan", done) }
		counts, err := slice.Pass(ctx, v.scanner, v.bounds, after, fresh, alive)
		if err != nil {
			return err
		}
		v.result.Passes++
		// Events that were deleted during the scan are missing from its counts.
		if err := check(); err != nil {
			return err
		}
		upTo, rows := counts.UpTo(), counts.Rows()
		before := v.reader.Totals.Entities
		v.reader.Alive = func() error {
			return v.alive(ctx, "compare", float64(v.reader.Totals.Entities-before)/float64(max(1, rows.Len())))
		}
		if err := v.reader.Compare(ctx, rows, after, upTo, v.take); err != nil {
			return err
		}
		if upTo == nil {
			break
		}
		after = upTo
	}
	// Entities that have not drifted are in both sums.
	v.result.EventsCounted = v.reader.Totals.Events
	v.result.EventsStored = metric.Sum(v.reader.Totals.Events-v.drifted.counted, v.drifted.stored)
	v.result.Entities += v.reader.Totals.Entities
	return nil
}

// take records one entity that differs.
func (v *verification) take(found batch.Difference) {
	v.result.DriftedEntities++
	if found.Counted != nil {
		v.drifted.counted += found.Counted.Events()
	} else {
		v.result.Entities++
	}
	if found.Stored != nil {
		v.drifted.stored = metric.Sum(v.drifted.stored, storedEvents(found.Stored))
	}
	if len(v.result.Drifts) < cmp.Or(v.Options.Drifts, DefaultDrifts) {
		v.result.Drifts = append(v.result.Drifts, newDrift(v.Type, found))
	}
}

func (v *verification) alive(ctx context.Context, phase string, progress float64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if v.order.Progress != nil {
		v.order.Progress(phase, progress)
	}
	return nil
}
