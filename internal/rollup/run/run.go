// Package run rolls up one date, from beginning to end. The whole pipeline is visible in [Runner.Run]:
//
//	begin    this run takes the date: from now on, the fence stops every earlier run of it
//	claim    the requests that are open now are the ones that the run will satisfy
//	few      a small date is read in the transaction that begins and claims; another one does all that follows
//	scope    if all of them name entities, the run counts only these; otherwise
//	protect  metrics whose events are gone stay unchanged, package protection; checked again before each publish
//	scan     slice after slice, package slice
//	merge    in bounded memory, package merge; a date that does not fit is scanned and published in several passes
//	vouch    check that what was read is in the database that is written to; if it was restarted meanwhile, scan again
//	publish  batch after batch, package batch
//	settle   check that the stored rows have what was counted, mark the date complete, and satisfy the claimed requests
//
// The states of a date and what moves them are in docs/states.md. Package jobs calls Run for a RollupDay job, and
// `daymill rollup` calls it directly.
package run

import (
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
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/protection"
	"github.com/daymill/daymill/internal/rollup/slice"
	"github.com/daymill/daymill/internal/telemetry"
)

// Errors of a run that did not begin or did not complete.
var (
	// ErrBusy means that another run of the date is alive.
	ErrBusy = errors.New("the date is already being rolled up")
	// ErrNothingToDo means that the date has no open request.
	ErrNothingToDo = errors.New("the date has no open request")
	// ErrNotOver means that the date has not ended in the reporting zone.
	ErrNotOver = errors.New("the date is not over")
	// ErrProtected means that the run has kept the date's metrics because its events no longer exist. Its requests are
	// resolved, and a retry is not needed.
	ErrProtected = protection.ErrProtected
	// ErrInexact means that the number of stored events differs from the number read. Nothing was marked complete.
	ErrInexact = errors.New("the stored rows differ from what was counted")
)

// Options are the settings of every run.
type Options struct {
	Pace        pace.Speed // no pauses if nil
	MaxEntities int        // see merge.New; its default if 0
	Worker      string     // name of the process in the ledger
	SliceCounts int        // see slice.Scanner.Counts; its default if 0
	// Silence is how long the date's last run may go without a heartbeat before it counts as dead; lease.Silence if 0. A run
	// writes one every second or two; the longest gap is a pause of ten seconds after a statement that took as long.
	Silence time.Duration
}

// Runner rolls up dates of one database. It is safe for concurrent use.
type Runner struct {
	Primary *postgres.DB
	// Source is where events are read: the primary or its followers.
	Source  postgres.Source
	Type    entity.Type
	Clock   pace.Clock
	Options Options
	// Listeners receive the signals of runs; may be empty.
	Listeners telemetry.Listeners
}

// Order says which date to roll up, and for which job.
type Order struct {
	Date date.Date
	// JobID and Attempt identify the River job's attempt; nil and 0 if there is none.
	JobID   *int64
	Attempt int
	// Progress, if not nil, is called with the run's progress before each slice and batch and at the end.
	Progress func(Report)
}

// Phases of a run.
const (
	PhaseScan    = "scan"
	PhasePublish = "publish"
	PhaseSettle  = "settle"
)

// Report is how far a run is, and its figures so far.
type Report struct {
	figure.Figures

	RunID    int64
	Date     date.Date
	Phase    string
	Progress float64 // of the phase, from 0 to 1
}

// active is a run in progress.
type active struct {
	*Runner

	order  Order
	bounds date.Bounds
	id     int64
	lease  *lease.Lease // nil until the run begins
	// maxEntities is Options.MaxEntities, or less if the date's last run was lost.
	maxEntities int
	servers     servers // when begun, or last vouched for
	scanRun     int64
	resumed     *int64
	cursor      *entity.ID
	before      before
	partitioned bool        // metrics are stored in a partition for each month
	scoped      []entity.ID // the entities that the run counts; nil means the whole date
	widened     bool        // the run counts the whole date, although its requests name entities
	claimed     int64       // requests, when the run began
	few         *few        // what the run has read of a small date when it began; nil if the date is larger
	began       time.Time

	pair      *postgres.Pair
	pacer     *pace.Pacer
	scanner   *slice.Scanner
	publisher *batch.Publisher
	top       merge.Top  // of the entities that this run has counted
	sums      merge.Sums // of the same
	scopeWas  merge.Sums // of the rows that a run of some entities replaced, before that
	known     protection.Known

	phase    string
	progress float64
	passes   int
}

// Run rolls up one date. When ctx is done, Run lets the current statement end, releases the date so that another run can
// resume at the cursor, and returns ctx's cause.
func (r *Runner) Run(ctx context.Context, order Order) (Report, error) {
	a := &active{Runner: r, order: order, phase: PhaseScan, pacer: &pace.Pacer{Clock: r.Clock, Pace: r.Options.Pace}}
	var err error
	if a.pair, err = r.Primary.Pair(ctx, r.Source, a.signOfLife); err != nil {
		return a.report(), err
	}
	defer a.pair.Release(ctx, ledgerLimit)
	a.began = a.Clock.Now() // It may read a small date when it begins.
	if err := a.begin(ctx); err != nil {
		return a.report(), err
	}
	ctx = a.started(ctx)
	err = a.roll(ctx)
	if err != nil {
		err = a.breakOff(ctx, err)
	}
	a.stopped(ctx, err)
	a.tellProgress()
	return a.report(), err
}

// roll is the pipeline.
func (a *active) roll(ctx context.Context) error {
	if err := a.claim(ctx); err != nil {
		return err
	}
	if a.few != nil {
		if done, err := a.rollFew(ctx); done || err != nil {
			return err
		}
	}
	if err := a.follow(ctx); err != nil {
		return err
	}
	if err := a.checkProtected(ctx); err != nil {
		return err
	}
	if err := a.month(ctx); err != nil {
		return err
	}
	if entities, err := a.scope(ctx); err != nil {
		return err
	} else if entities != nil {
		if done, err := a.rollScope(ctx, entities); done || err != nil {
			return err
		}
		a.publisher.Totals, a.top, a.sums = batch.Totals{}, merge.Top{}, merge.Sums{}
	}
	after := a.cursor
	for {
		a.passes++
		rows, upTo, err := a.count(ctx, after)
		if err != nil {
			return err
		}
		err = a.during(ctx, PhasePublish, func(ctx context.Context) error { return a.publish(ctx, rows, after, upTo) })
		if err != nil {
			return err
		}
		if upTo == nil {
			return a.during(ctx, PhaseSettle, a.settle)
		}
		after = upTo
	}
}

// month creates the partition of the date's month if metrics are partitioned and it is missing.
func (a *active) month(ctx context.Context) error {
	if !a.partitioned {
		return nil
	}
	err := a.pair.Primary.Tx(ctx, ledgerLimit, func(ctx context.Context, on postgres.DBTX) error {
		_, err := db.New(on).MetricMonth(ctx, a.order.Date)
		return err
	})
	if err != nil {
		return fmt.Errorf("look for the partition of the date's month: %w", err)
	}
	return nil
}

// count scans the entities above a bound, and scans them again if the server was restarted meanwhile. It returns the rows, and the last entity of
// this pass; nil if no entity is above it.
func (a *active) count(ctx context.Context, after *entity.ID) (rows merge.Rows, upTo *entity.ID, err error) {
	for range mostScans {
		var counts *merge.Table
		err := a.during(ctx, PhaseScan, func(ctx context.Context) (err error) {
			counts, err = a.scan(ctx, after)
			return err
		})
		if err != nil {
			return merge.Rows{}, nil, err
		}
		if err := a.checkProtected(ctx); err != nil {
			return merge.Rows{}, nil, err
		}
		rows, upTo = counts.Rows(), counts.UpTo()
		if err := a.checkLoss(ctx, rows, upTo); err != nil {
			return merge.Rows{}, nil, err
		}
		if steady, err := a.vouch(ctx); err != nil || steady {
			return rows, upTo, err
		}
		if err := a.follow(ctx); err != nil {
			return merge.Rows{}, nil, err
		}
	}
	return merge.Rows{}, nil, errRestarts
}

// scan reads the date's events of entities above a bound and adds them up.
func (a *active) scan(ctx context.Context, after *entity.ID) (*merge.Table, error) {
	a.phase = PhaseScan
	fresh := func() *merge.Table { return merge.New(a.maxEntities) }
	return slice.Pass(ctx, a.scanner, a.bounds, after, fresh, func(done float64) error {
		a.progress = done
		return a.signOfLife(ctx)
	})
}

// publish makes the stored rows of a pass equal to the counted ones.
func (a *active) publish(ctx context.Context, rows merge.Rows, after, upTo *entity.ID) error {
	a.phase, a.progress = PhasePublish, 0
	want := a.publisher.Totals
	want.Events += rows.Events()
	want.Entities += int64(rows.Len())
	a.publisher.Counted = func(rows []merge.Row) {
		for i := range rows {
			a.top.Add(&rows[i], rows[i].Events())
			a.sums.Add(&rows[i])
		}
	}
	before := a.publisher.Totals.Entities
	a.publisher.Alive = func() error {
		a.progress = float64(a.publisher.Totals.Entities-before) / float64(max(1, rows.Len()))
		return a.signOfLife(ctx)
	}
	if err := a.publisher.Publish(ctx, rows, after, upTo); err != nil {
		return err
	}
	if a.publisher.Totals != want {
		return inexact(a.publisher.Totals, want)
	}
	return nil
}

func inexact(found, want batch.Totals) error {
	return fmt.Errorf("%w: %d events of %d entities instead of %d of %d; the next run writes the rows that differ; if this error comes again, "+
		"find out what else writes to analytics.daily_entity_metrics", ErrInexact, found.Events, found.Entities, want.Events, want.Entities)
}

// checkStored compares the sum of everything stored for the date with what was counted. Publishing compares row by row, but
// only the rows that it has read, in the order in which it expects them.
func (a *active) checkStored(ctx context.Context) error {
	stored, err := a.publisher.Stored(ctx)
	if err != nil {
		return err
	}
	if stored != a.publisher.Totals {
		return inexact(stored, a.publisher.Totals)
	}
	return nil
}

func (a *active) report() Report {
	return Report{Figures: a.figures(), RunID: a.id, Date: a.order.Date, Phase: a.phase, Progress: a.progress}
}

func (a *active) figures() figure.Figures {
	f := figure.Figures{Passes: a.passes, Longest: a.pacer.Longest, Worked: a.pacer.Worked, Paused: a.pacer.Paused}
	if a.scanner != nil {
		f.Slices, f.Fetches = a.scanner.Slices, a.scanner.Fetches
	}
	if p := a.publisher; p != nil {
		f.Events, f.Entities, f.Rows, f.Batches = p.Totals.Events, p.Totals.Entities, p.Rows, p.Batches
	}
	return f
}

func (a *active) tellProgress() {
	if a.order.Progress != nil {
		a.order.Progress(a.report())
	}
}

// row returns the report in the ledger's form.
func (r Report) row() db.RunProgressParams {
	return db.RunProgressParams{
		ID:                 r.RunID,
		Phase:              r.Phase,
		Progress:           float32(r.Progress),
		Events:             r.Events,
		Entities:           r.Entities,
		RowsInserted:       r.Inserted,
		RowsUpdated:        r.Updated,
		RowsDeleted:        r.Deleted,
		Passes:             int32(r.Passes),  //nolint:gosec // Counts of a run.
		Slices:             int32(r.Slices),  //nolint:gosec // As above.
		Batches:            int32(r.Batches), //nolint:gosec // As above.
		LongestStatementMs: float32(r.Longest.Seconds() * 1000),
		WorkedMs:           r.Worked.Milliseconds(),
		PausedMs:           r.Paused.Milliseconds(),
	}
}
