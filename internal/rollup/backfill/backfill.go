// Package backfill rolls up a range of dates one after another, at a pace. A backfill has a limit of dates in flight over all
// workers together, shows its progress, and can be paused, resumed and cancelled.
//
// A backfill requests its dates, a few at a time, as any other program does. [Advance] requests the next ones; any worker process
// may call it at any time. The whole state of a backfill is in the ledger, so it survives restarts.
package backfill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/telemetry"
)

// mostKey is the longest key of a request, in bytes.
const mostKey = 200

// MaxInFlight is the most dates of one backfill that may be in flight.
const MaxInFlight = 100

// Errors that a user can fix.
var (
	ErrNoDate   = errors.New("a backfill needs a first and a last date")
	ErrNotFound = errors.New("there is no such backfill: see `daymill backfill list`")
	ErrEnded    = errors.New("the backfill has ended")
	ErrFuture   = errors.New("a backfill takes dates that are over")
	ErrInFlight = fmt.Errorf("the dates in flight must be from 1 to %d", MaxInFlight)
	ErrPause    = errors.New("the pause must be from 0 to 24 hours")
	ErrKey      = errors.New("the key was used for another backfill: give each its own")
	ErrLongKey  = fmt.Errorf("a key has 1 to %d bytes of text", mostKey)
)

// States of a backfill.
const (
	Running   = "running"
	Paused    = "paused"
	Complete  = "complete"
	Cancelled = "cancelled"
)

// Plan says what a backfill does.
type Plan struct {
	Range date.Range
	// NewestFirst takes the dates from the last to the first.
	NewestFirst bool
	// EveryDate also takes dates that are complete.
	EveryDate bool
	// InFlight is how many dates may be requested or running at a time, over all workers; 1 if 0.
	InFlight int
	// Pause is how long to wait after a date has finished before the next is requested.
	Pause time.Duration
	// Erase also rolls up dates that have fewer events than their last complete run counted. Without it, such dates stay
	// unchanged.
	Erase bool

	// By and Via say who requested the backfill and how: cli, web, api, river. An empty By means the database user.
	By, Via string
	// JobID is the River job that starts the backfill; nil if there is none. A second Start for the same job starts nothing.
	JobID *int64
	// Key identifies the request, so that a form or a call that is sent again starts nothing; empty for none. Each user has their own keys.
	Key string
}

// Validate checks a plan against the current date of the reporting zone.
func (p Plan) Validate(today date.Date) error {
	switch {
	case p.Range.First.IsZero() || p.Range.Last.IsZero():
		return ErrNoDate
	case !p.Range.Last.Before(today):
		return fmt.Errorf("%w: %s is not over, today is %s", ErrFuture, p.Range.Last, today)
	case p.InFlight < 0 || p.InFlight > MaxInFlight:
		return ErrInFlight
	case p.Pause < 0 || p.Pause > 24*time.Hour:
		return ErrPause
	case len(p.Key) > mostKey || !utf8.ValidString(p.Key) || strings.ContainsRune(p.Key, 0):
		return ErrLongKey
	}
	_, err := date.NewRange(p.Range.First, p.Range.Last)
	return err
}

// Start records a backfill, and who requested it, in the caller's transaction. It returns the backfill's id and the number of its
// dates, 0 and 0 if the plan's job has already started it, or the backfill's id and 0 if the same user has started it with the same key. It
// returns [ErrKey] if that was another plan.
func Start(ctx context.Context, on postgres.DBTX, plan Plan) (id, dates int64, err error) {
	queries := db.New(on)
	var key *string
	if plan.Key != "" {
		key = &plan.Key
	}
	id, err = queries.BackfillInsert(ctx, db.BackfillInsertParams{
		FirstDate:    plan.Range.First,
		LastDate:     plan.Range.Last,
		NewestFirst:  plan.NewestFirst,
		EveryDate:    plan.EveryDate,
		InFlight:     int32(max(1, plan.InFlight)), //nolint:gosec // Validated.
		PauseMs:      plan.Pause.Milliseconds(),
		JobID:        plan.JobID,
		RequestedBy:  plan.By,
		RequestedVia: plan.Via,
		Erase:        plan.Erase,
		RequestKey:   key,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return repeated(ctx, queries, plan)
	}
	if err == nil {
		dates, err = queries.BackfillFillDates(ctx, id)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("start the backfill: %w", err)
	}
	detail := map[string]any{"range": plan.Range.String(), "dates": dates}
	if plan.Erase {
		detail["erase"] = true
	}
	err = audit.Record(ctx, on, audit.Entry{
		Who: audit.Who{Actor: plan.By, Via: plan.Via}, Action: "start backfill", Target: strconv.FormatInt(id, 10), Detail: detail,
	})
	if err != nil {
		return 0, 0, err
	}
	return id, dates, nil
}

// repeated returns the backfill that a plan's key has started before.
func repeated(ctx context.Context, queries *db.Queries, plan Plan) (id, dates int64, err error) {
	if plan.Key == "" {
		return 0, 0, nil
	}
	known, err := queries.BackfillByKey(ctx, db.BackfillByKeyParams{
		FirstDate: plan.Range.First, LastDate: plan.Range.Last, NewestFirst: plan.NewestFirst, EveryDate: plan.EveryDate,
		InFlight: int32(max(1, plan.InFlight)), //nolint:gosec // Validated.
		PauseMs:  plan.Pause.Milliseconds(), Erase: plan.Erase, RequestedBy: plan.By, RequestKey: plan.Key,
	})
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("look for the backfill of a key: %w", err)
	case !known.Same:
		return 0, 0, ErrKey
	default:
		return known.ID, 0, nil
	}
}

// Advance records which dates of each running backfill have finished, and requests the next ones, in the caller's transaction. It
// skips a backfill that another process is advancing. It returns the signals to send after the transaction has committed,
// including those of backfills that were cancelled since the last call.
func Advance(ctx context.Context, on postgres.DBTX) ([]telemetry.Signal, error) {
	queries := db.New(on)
	running, err := queries.BackfillRunning(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for backfills: %w", err)
	}
	var signals []telemetry.Signal
	for _, b := range running {
		step, err := advance(ctx, queries, b)
		if err != nil {
			return nil, fmt.Errorf("advance backfill %d: %w", b.ID, err)
		}
		signals = append(signals, step.signals(b.ID)...)
	}
	cancelled, err := queries.BackfillTellCancelled(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for cancelled backfills: %w", err)
	}
	for _, id := range cancelled {
		signals = append(signals, signal.BackfillStop{ID: id, Outcome: signal.Cancelled})
	}
	return signals, nil
}

// step is the result of advancing one backfill.
type step struct {
	begun, finished  bool
	ended, requested int64 // dates
}

func (s step) signals(id int64) (all []telemetry.Signal) {
	if s.begun {
		all = append(all, signal.BackfillStart{ID: id})
	}
	if s.ended > 0 || s.requested > 0 {
		all = append(all, signal.BackfillAdvance{ID: id, Ended: s.ended, Requested: s.requested})
	}
	if s.finished {
		all = append(all, signal.BackfillStop{ID: id, Outcome: signal.Complete})
	}
	return all
}

func advance(ctx context.Context, queries *db.Queries, running db.BackfillRunningRow) (done step, err error) {
	if done.ended, err = queries.BackfillCollect(ctx, running.ID); err != nil {
		return done, err
	}
	if done.ended > 0 {
		if err := queries.BackfillCollected(ctx, running.ID); err != nil {
			return done, err
		}
	}
	finished, err := queries.BackfillFinish(ctx, running.ID)
	if err != nil || finished > 0 {
		done.finished = finished > 0
		return done, err
	}
	rested, err := queries.BackfillRested(ctx, running.ID)
	if err != nil || !rested {
		return done, err
	}
	inFlight, err := queries.BackfillInFlight(ctx, running.ID)
	if err != nil || inFlight >= int64(running.InFlight) {
		return done, err
	}
	next, err := queries.BackfillTake(ctx, db.BackfillTakeParams{
		ID: running.ID, NewestFirst: running.NewestFirst, MaxRows: running.InFlight - int32(inFlight), //nolint:gosec // At most 100.
	})
	if err != nil || len(next) == 0 {
		return done, err
	}
	begun, err := queries.BackfillBegin(ctx, running.ID)
	if err != nil {
		return done, err
	}
	done.begun, done.requested = begun > 0, int64(len(next))
	return done, queries.BackfillRequest(ctx, db.BackfillRequestParams{ID: running.ID, MetricDates: next})
}

// SetState pauses, resumes or cancels a backfill, and records who did it. Dates that are running finish. Cancelling a backfill
// also cancels its requests that no run has claimed.
func SetState(ctx context.Context, conn *postgres.DB, id int64, state string, who audit.Who) error {
	return conn.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		current, err := queries.BackfillLock(ctx, id)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("backfill %d: %w", id, ErrNotFound)
		case err != nil:
			return fmt.Errorf("look up the backfill: %w", err)
		case current == state:
			return nil
		case current == Complete || current == Cancelled:
			return fmt.Errorf("backfill %d: %w: it is %s", id, ErrEnded, current)
		}
		err = queries.BackfillSetState(ctx, db.BackfillSetStateParams{ID: id, State: state})
		if err == nil && state == Cancelled {
			if err = queries.BackfillCancelDates(ctx, id); err == nil {
				err = queries.BackfillCancelRequests(ctx, &id)
			}
		}
		if err != nil {
			return fmt.Errorf("record the backfill's state: %w", err)
		}
		action := map[string]string{Paused: "pause backfill", Running: "resume backfill", Cancelled: "cancel backfill"}[state]
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: action, Target: strconv.FormatInt(id, 10)})
	})
}

// Status is a backfill and its progress.
type Status struct {
	ID           int64      `json:"id"`
	State        string     `json:"state"`
	First        date.Date  `json:"first_date"`
	Last         date.Date  `json:"last_date"`
	NewestFirst  bool       `json:"newest_first"`
	EveryDate    bool       `json:"every_date"`
	Erase        bool       `json:"erase"`
	InFlight     int        `json:"in_flight"`
	PauseSeconds float64    `json:"pause_seconds"`
	By           string     `json:"requested_by"`
	Via          string     `json:"requested_via"`
	RequestedAt  time.Time  `json:"requested_at"`
	FinishedAt   *time.Time `json:"finished_at,omitempty"`

	Dates          int64 `json:"dates"`
	DatesRequested int64 `json:"dates_in_flight"`
	DatesComplete  int64 `json:"dates_complete"`
	DatesFailed    int64 `json:"dates_failed"`
	DatesCancelled int64 `json:"dates_cancelled"`
	// DatesProtected counts dates that kept their metrics because their events are gone.
	DatesProtected int64 `json:"dates_protected"`

	// RemainingSeconds is an estimate based on the complete dates; nil before the first one, and after the end.
	RemainingSeconds *float64 `json:"remaining_seconds,omitempty"`
}

// Done returns the number of dates that have ended, in any state.
func (s Status) Done() int64 {
	return s.DatesComplete + s.DatesFailed + s.DatesCancelled + s.DatesProtected
}

// List returns at most limit backfills, newest first: those before beforeID, or the latest if it is 0.
func List(ctx context.Context, on postgres.DBTX, beforeID int64, limit int) ([]Status, error) {
	if beforeID == 0 {
		beforeID = math.MaxInt64
	}
	rows, err := db.New(on).BackfillList(ctx, db.BackfillListParams{BeforeID: beforeID, MaxRows: int32(limit)}) //nolint:gosec // A page.
	if err != nil {
		return nil, fmt.Errorf("list backfills: %w", err)
	}
	all := make([]Status, len(rows))
	for i, row := range rows {
		all[i] = status(row)
	}
	return all, nil
}

// Get returns one backfill, or ErrNotFound.
func Get(ctx context.Context, on postgres.DBTX, id int64) (Status, error) {
	if id == math.MaxInt64 {
		return Status{}, ErrNotFound
	}
	list, err := List(ctx, on, id+1, 1)
	if err != nil {
		return Status{}, err
	}
	if len(list) == 0 || list[0].ID != id {
		return Status{}, fmt.Errorf("backfill %d: %w", id, ErrNotFound)
	}
	return list[0], nil
}

func status(row db.BackfillListRow) Status {
	b := row.AnalyticsBackfill
	s := Status{
		ID: b.ID, State: b.State, First: b.FirstDate, Last: b.LastDate, NewestFirst: b.NewestFirst, EveryDate: b.EveryDate,
		Erase: b.Erase, InFlight: int(b.InFlight), PauseSeconds: float64(b.PauseMs) / 1000, By: b.RequestedBy, Via: b.RequestedVia,
		RequestedAt: b.RequestedAt, FinishedAt: b.FinishedAt,
		Dates: row.Dates, DatesRequested: row.Requested, DatesComplete: row.Complete, DatesFailed: row.Failed,
		DatesCancelled: row.Cancelled, DatesProtected: row.Protected,
	}
	if row.Complete > 0 && b.FinishedAt == nil {
		left := float64(s.Dates-s.Done()) * (row.SecondsPerDate + s.PauseSeconds) / float64(b.InFlight)
		s.RemainingSeconds = &left
	}
	return s
}

// Conflicts counts other work in a range of dates.
type Conflicts struct {
	Backfills int64 // open ones that share dates with it
	Requested int64 // dates with an open request
	Running   int64 // dates that are being rolled up
}

// FindConflicts counts other work in a range.
func FindConflicts(ctx context.Context, on postgres.DBTX, dates date.Range) (Conflicts, error) {
	row, err := db.New(on).BackfillConflicts(ctx, db.BackfillConflictsParams{FirstDate: dates.First, LastDate: dates.Last})
	if err != nil {
		return Conflicts{}, fmt.Errorf("look for conflicts: %w", err)
	}
	return Conflicts(row), nil
}

// Day is a date of a backfill.
type Day struct {
	Date        date.Date
	State       string // waiting, requested, complete, failed, cancelled
	RequestedAt *time.Time
	FinishedAt  *time.Time
}

// DayCursor is where a page of a backfill's dates begins: after a date. PastFailed reports whether the failed dates, which come
// first, have all been listed. The zero value is the first page.
type DayCursor struct {
	After      date.Date
	PastFailed bool
}

// Cursor returns where the page after the one that ends with d begins.
func (d Day) Cursor() DayCursor { return DayCursor{After: d.Date, PastFailed: d.State != "failed"} }

// Days lists dates of a backfill: failed dates first, then by date. If state is not empty, it lists only dates in that state.
func Days(ctx context.Context, on postgres.DBTX, id int64, state string, from DayCursor, limit int) ([]Day, error) {
	if from.After.IsZero() {
		from.After = date.MustParse("0001-01-01").AddDays(-1)
	}
	rows, err := db.New(on).BackfillDates(ctx, db.BackfillDatesParams{
		ID: id, State: state, AfterDate: from.After, PastFailed: from.PastFailed, MaxRows: int32(limit), //nolint:gosec // A page.
	})
	if err != nil {
		return nil, fmt.Errorf("list the backfill's dates: %w", err)
	}
	all := make([]Day, len(rows))
	for i, row := range rows {
		all[i] = Day{Date: row.MetricDate, State: row.State, RequestedAt: row.RequestedAt, FinishedAt: row.FinishedAt}
	}
	return all, nil
}

// Preview returns the dates that a plan would take, earliest first.
func Preview(ctx context.Context, on postgres.DBTX, plan Plan) ([]date.Date, error) {
	dates, err := db.New(on).BackfillPreviewDates(ctx, db.BackfillPreviewDatesParams{
		FirstDate: plan.Range.First, LastDate: plan.Range.Last, EveryDate: plan.EveryDate,
	})
	if err != nil {
		return nil, fmt.Errorf("preview the backfill: %w", err)
	}
	return dates, nil
}
