// Package protection prevents rollups from erasing metrics whose events no longer exist. Applications delete old events, and a
// rollup makes a date's rows equal to its events. So a request for an old date would erase metrics that can never be counted
// again.
//
// A request says what it may lose. For a request of a single date, the metrics follow the events, even if none are left. For a
// request of a range, they follow the events as long as the date has any. For a sweep over dates (the daily job, a backfill, a
// repair, many jobs retried at once), they follow only if the date has at least as many events as its last complete run counted.
// In addition, metrics that are older than the application keeps its events (`daymill source set --retention`) stay unchanged.
// A request that says erase overrides all of this. Nothing overrides that the metrics of a date's month are no longer kept (`daymill migrate
// retention`).
//
// Package run checks before it publishes, package verification before it compares, and [Look] says in advance which dates a sweep
// would leave unchanged.
package protection

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// What a request may lose, in the column may_lose.
const (
	LoseNone = "none"
	LoseSome = "some"
	LoseAll  = "all"
)

// ErrProtected says that a date's metrics stay unchanged because its events are gone. The error that wraps it has the details.
var ErrProtected = errors.New("protected: its metrics stay unchanged")

var errBeyond = fmt.Errorf("%w, because the date begins before the period that `daymill source retention` says is kept "+
	"(`daymill enqueue --erase DATE` rolls it up anyway)", ErrProtected)

// errNotKept stands even if a request says erase: the run would count metrics that the next daily job drops.
var errNotKept = fmt.Errorf("%w, because metrics of its month are no longer kept (`daymill migrate retention` keeps more months)", ErrProtected)

// limit bounds a statement on the ledger or the events, which needs a few index lookups.
const limit = 5 * time.Second

// Date is a date whose rows may have to stay unchanged.
type Date struct {
	// Primary has the ledger, Source the events.
	Primary, Source *postgres.Session
	Date            date.Date
	Bounds          date.Bounds
	// RunID is the run that claimed the requests, which say whether rows may be erased; 0 if there is none.
	RunID int64
}

// Known is what Check has found about a date that may be rolled up.
type Known struct {
	// Recorded is how many events the last complete run counted; 0 if there is none.
	Recorded int64
	// Strict reports whether fewer events than that protect the date.
	Strict bool
	// Erase reports whether a request may erase the rows.
	Erase bool
}

// Check returns an error that wraps ErrProtected if the date's rows must stay unchanged, as far as Check can tell without counting
// the events. If Known is strict, call [Known.Check] once the events are counted.
func (d Date) Check(ctx context.Context, now time.Time) (Known, error) {
	var row db.ProtectionGetRow
	err := d.Primary.Read(ctx, limit, func(ctx context.Context, on postgres.DBTX) (err error) {
		row, err = db.New(on).ProtectionGet(ctx, db.ProtectionGetParams{MetricDate: d.Date, AtInstant: now, RunID: d.RunID})
		return err
	})
	if err != nil {
		return Known{}, fmt.Errorf("look whether the date is protected: %w", err)
	}
	return Facts{
		HadEvents: row.HadEvents, Recorded: row.Recorded, BeyondRetention: row.BeyondRetention, NotKept: row.NotKept, Erase: row.Erase, MayLose: row.MayLose,
	}.Judge(func() (bool, error) { return d.hasEvents(ctx) })
}

// Facts are what the ledger says about a date: see the query ProtectionGet.
type Facts struct {
	HadEvents       bool
	Recorded        int64
	BeyondRetention bool
	NotKept         bool
	Erase           bool
	MayLose         int32
}

// Judge is [Date.Check] for facts that are known. It calls has if it matters whether the date has any event.
func (f Facts) Judge(has func() (bool, error)) (Known, error) {
	known := Known{Recorded: f.Recorded, Erase: f.Erase}
	switch {
	case f.NotKept:
		return known, errNotKept
	case known.Erase || !f.HadEvents:
		return known, nil
	case f.BeyondRetention:
		return known, errBeyond
	case f.MayLose >= 2:
		return known, nil
	}
	some, err := has()
	if err != nil {
		return known, fmt.Errorf("look whether the date has events: %w", err)
	}
	if !some {
		return known, lost(f.Recorded, 0)
	}
	known.Strict = f.MayLose == 0 && f.Recorded > 0
	return known, nil
}

// Check returns an error that wraps ErrProtected if Known is strict and there are fewer events than the last complete run
// counted.
func (k Known) Check(events int64) error {
	if !k.Strict || events >= k.Recorded {
		return nil
	}
	return lost(k.Recorded, events)
}

// lost returns an error that says how many events would lose their metrics.
func lost(recorded, events int64) error {
	const erase = "`daymill enqueue --erase DATE` erases"
	switch {
	case events == 0 && recorded == 0:
		return fmt.Errorf("%w, because it has rows but no events (%s them)", ErrProtected, erase)
	case events == 0:
		return fmt.Errorf("%w, because it no longer has events: the metrics of all %s would be erased (%s them)",
			ErrProtected, strconv.FormatInt(recorded, 10), erase)
	default:
		return fmt.Errorf("%w, because it has %d events and its last complete run counted %d: the metrics of %d would be erased "+
			"(%s them)", ErrProtected, events, recorded, recorded-events, erase)
	}
}

// hasEvents reports whether the date has events. It needs one index lookup.
func (d Date) hasEvents(ctx context.Context) (has bool, err error) {
	err = d.Source.Look(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
		has, err = db.New(on).ProtectionEvents(ctx, db.ProtectionEventsParams{FromInstant: d.Bounds.From, ToInstant: d.Bounds.To})
		return err
	})
	return has, err
}

// Count counts a date's events, and stops as soon as it has counted most of them. Its statements are short, and it calls alive
// before each.
func Count(
	ctx context.Context, source *postgres.Session, pacer *pace.Pacer, bounds date.Bounds, most int64, alive func() error,
) (events int64, err error) {
	span := bounds.To.Sub(bounds.From)
	size := pace.NewSize(float64(span)/float64(1+most/firstEvents), float64(time.Microsecond), float64(span))
	for from := bounds.From; from.Before(bounds.To) && events < most; {
		if err := alive(); err != nil {
			return 0, err
		}
		length := min(max(time.Microsecond, time.Duration(size.Value())), bounds.To.Sub(from))
		found, took, err := count(ctx, source, pacer, date.Bounds{From: from, To: from.Add(length)}, most-events, size.Limit())
		switch {
		case postgres.IsTimeout(err):
			if !size.TimedOut(float64(length)) {
				return 0, errors.New("the events of a microsecond could not be counted within thirteen seconds")
			}
		case err != nil:
			return 0, fmt.Errorf("count events from %s: %w", from.Format(time.RFC3339), err)
		default:
			size.Took(float64(length), took)
			events += found
			from = from.Add(length)
		}
		if err := pacer.Pause(ctx, took); err != nil {
			return 0, err
		}
	}
	return events, nil
}

// firstEvents is how many events the first statement of a count should have to count.
const firstEvents = 50_000

func count(
	ctx context.Context, source *postgres.Session, pacer *pace.Pacer, bounds date.Bounds, most int64, within time.Duration,
) (events int64, took time.Duration, err error) {
	took, err = pacer.Do(source, func() error {
		return source.Look(ctx, within, func(ctx context.Context, on postgres.DBTX) error {
			events, err = db.New(on).ProtectionCount(ctx, db.ProtectionCountParams{
				FromInstant: bounds.From, ToInstant: bounds.To, AtMost: most,
			})
			return err
		})
	})
	return events, took, err
}
