package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/batch"
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/protection"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/rollup/slice"
	"github.com/daymill/daymill/internal/telemetry"
)

// A date of a few hundred events costs more in transactions than in work. So a run that takes such a date reads it at once, and one more
// transaction publishes and settles: ten statements in all, of which the second COMMIT is the only one that waits for the disk. The guards are
// those of other runs. One statement reads all events, so its snapshot is of one instant: later than the claim, and what is missing in it was
// gone before the scan. The second transaction begins with the fence, which also says whether the server is still the one that was read, and
// nobody can take the date before it ends. If anything is unusual, the second transaction is rolled back, and the run goes on like others.

// mostStored is how many rows a small date may have.
const mostStored = 2_000

// errNotFew means that a date is not small, or that its events or rows cannot be read quickly.
var errNotFew = errors.New("the date has more than a few events or rows")

// few is what a run has read of a small date when it began.
type few struct {
	events int64
	table  *merge.Table
	facts  protection.Facts
	scoped bool     // all requests name entities
	named  []string // these, and one more than smallScope if there are more
	took   time.Duration
}

// mayBeFew reports whether the date may be small, and notes what a small date needs. The last complete run knows how many events there were. Citus
// may refuse statements that read metrics and change the ledger, if metrics are distributed.
func (a *active) mayBeFew(last db.DateTakeRow, began db.RunBeginRow) bool {
	most := int64(slice.MostFew(a.Options.SliceCounts))
	if a.scanRun != a.id || began.Claimed >= mostRequests || began.Erase || last.State == "running" || last.Citus || last.Events > most {
		return false
	}
	a.few = &few{scoped: began.Scoped && a.before.complete, named: began.Entities, facts: protection.Facts{
		HadEvents: began.HadEvents, Recorded: began.Recorded, BeyondRetention: began.BeyondRetention, NotKept: began.NotKept, Erase: began.Erase, MayLose: began.MayLose,
	}}
	return true
}

// only returns which entities may change, in key order, as [active.scope] has it; nil means all. What others have stays even if their events are
// gone: nobody has requested them.
func (f *few) only(as entity.Type) []entity.ID {
	if !f.scoped || len(f.named) > smallScope {
		return nil
	}
	named := make([]entity.ID, len(f.named))
	for i, text := range f.named {
		id, err := as.Parse(text)
		if err != nil {
			return nil
		}
		named[i] = id
	}
	slices.Sort(named)
	return named
}

// readFew reads the events of a date that may be small. Its error is not that of the statement, so that the session does not repeat it.
func (a *active) readFew(ctx context.Context, queries *db.Queries) error {
	most, all := slice.MostFew(a.Options.SliceCounts), false
	a.few.table = merge.New(min(most, a.maxEntities))
	took, err := a.pacer.Do(a.pair.Primary, func() (err error) {
		a.few.events, all, err = a.scanner.Few(ctx, queries, a.bounds, most, a.few.table)
		return err
	})
	a.few.took = took
	if err != nil {
		return errNotFew
	}
	if !all {
		a.few = nil
	}
	return nil
}

// rollFew is the rest of the run of a small date. It returns false if the date has to be rolled up like others; nothing is written then.
func (a *active) rollFew(ctx context.Context) (done bool, err error) {
	few := a.few
	if a.known, err = few.facts.Judge(func() (bool, error) { return few.events > 0, nil }); err != nil {
		return false, err
	}
	if err := a.known.Check(few.events); err != nil {
		return false, err
	}
	if err := a.month(ctx); err != nil {
		return false, err
	}
	var satisfied int64
	var took time.Duration
	a.passes, a.scanner.Slices = 1, 1
	err = a.during(ctx, PhaseScan, func(ctx context.Context) error {
		telemetry.Tell(ctx, a.Listeners, signal.Slice{
			Early: "EventFew",
			Run:   a.run(), From: a.bounds.From, To: a.bounds.To, Outcome: signal.Read, Took: few.took, Counts: int(few.events),
		})
		return nil
	})
	if err == nil {
		err = a.during(ctx, PhasePublish, func(ctx context.Context) (err error) {
			a.phase, a.progress = PhasePublish, 0
			if err := a.signOfLife(ctx); err != nil {
				return err
			}
			took, satisfied, err = a.publishFew(ctx)
			return err
		})
	}
	if errors.Is(err, errNotFew) || postgres.IsTimeout(err) {
		a.passes, a.scanner.Slices = 0, 0
		return false, a.pacer.Pause(ctx, few.took+took)
	}
	if err != nil {
		return false, err
	}
	err = a.during(ctx, PhaseSettle, func(ctx context.Context) error {
		a.phase, a.progress = PhaseSettle, 1
		telemetry.Tell(ctx, a.Listeners, signal.RequestSatisfy{Run: a.run(), Requests: satisfied})
		return nil
	})
	if err != nil {
		return false, err
	}
	// The date is complete, so whether the pause was cut short does not matter.
	_ = a.pacer.Pause(ctx, few.took+took)
	return true, nil
}

// publishFew makes the date's rows equal to the counted ones and settles, in one transaction.
func (a *active) publishFew(ctx context.Context) (took time.Duration, satisfied int64, err error) {
	rows := a.few.table.Rows().List()
	for i := range rows {
		a.top.Add(&rows[i], rows[i].Events())
		a.sums.Add(&rows[i])
	}
	top, err := a.topText(a.top)
	if err != nil {
		return 0, 0, fmt.Errorf("record the top entities: %w", err)
	}
	types, err := json.Marshal(a.sums.Short(merge.MostTypes))
	if err != nil {
		return 0, 0, fmt.Errorf("record the counts by type: %w", err)
	}
	named := a.few.only(a.Type)
	var wrote figure.Rows
	var totals batch.Totals
	took, err = a.pacer.Do(a.pair.Primary, func() error {
		return a.pair.Primary.Small(ctx, pace.Limit, func(ctx context.Context, on postgres.DBTX) (err error) {
			lap, queries := a.pacer.Lap(a.pair.Primary), db.New(on)
			stored, startedAt, held, err := queries.DateHoldRows(ctx, db.DateHoldParams{
				MetricDate: a.order.Date, RunID: a.id, Token: a.lease.Term.Token, Beat: a.lease.Signs(), MaxRows: mostStored + 1,
			})
			switch {
			case err != nil:
				return fmt.Errorf("read metrics: %w", err)
			case !held:
				return lease.ErrFenced
			case !startedAt.Equal(a.servers.primary), len(stored) > mostStored:
				return errNotFew
			}
			wrote, totals, err = a.publisher.Small(ctx, queries, rows, stored, named)
			switch {
			case errors.Is(err, batch.ErrUnnamed):
				return errNotFew
			case err != nil:
				return err
			}
			took, worked := lap()
			satisfied, err = a.settleFew(ctx, queries, db.DateSettleParams{
				RowsInserted: wrote.Inserted, RowsUpdated: wrote.Updated, RowsDeleted: wrote.Deleted, Top: top, Types: types,
				LongestStatementMs: float32(max(a.pacer.Longest, took).Seconds() * 1000), WorkedMs: (a.pacer.Worked + worked).Milliseconds(),
			}, totals)
			return err
		})
	})
	if err != nil {
		a.top, a.sums = merge.Top{}, merge.Sums{}
		return took, 0, err
	}
	a.publisher.Totals, a.publisher.Rows, a.publisher.Batches = totals, wrote, batches(wrote)
	if wrote.Changed() > 0 {
		telemetry.Tell(ctx, a.Listeners, signal.Batch{Run: a.run(), Outcome: signal.Written, Took: took, Rows: wrote})
	}
	return took, satisfied, nil
}

// settleFew compares what is stored with what was counted, satisfies the requests, and completes the date.
func (a *active) settleFew(
	ctx context.Context, queries *db.Queries, settle db.DateSettleParams, totals batch.Totals,
) (satisfied int64, err error) {
	settle.MetricDate, settle.RunID, settle.Token, settle.Beat = a.order.Date, a.id, a.lease.Term.Token, a.lease.Signs()
	settle.Events, settle.Entities = totals.Events, totals.Entities
	settle.Batches = int32(batches(figure.Rows{Inserted: settle.RowsInserted, Updated: settle.RowsUpdated, Deleted: settle.RowsDeleted})) //nolint:gosec // 0 or 1.
	settle.PausedMs = a.pacer.Paused.Milliseconds()
	if a.few.scoped {
		none := int32(0) // The run is for the whole date, although its requests name entities.
		settle.Scope = &none
	}
	settled, err := queries.DateSettle(ctx, settle)
	switch {
	case err != nil:
		return 0, fmt.Errorf("settle: %w", err)
	case settled.Completed == 0:
		return 0, lease.ErrFenced
	}
	if stored := (batch.Totals{Events: settled.Events, Entities: settled.Rows}); stored != totals {
		return 0, inexact(stored, totals)
	}
	return settled.Satisfied, nil
}

// batches returns how many batches a small date takes.
func batches(wrote figure.Rows) int { return int(min(1, wrote.Changed())) }
