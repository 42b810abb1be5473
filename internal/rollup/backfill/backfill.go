// Package backfill is a range of dates rolled up one after another, at a pace: a thing of its own in the ledger, with a
// limit of dates in flight over all workers together, progress, pause, resume and cancel.
//
// A backfill asks for its dates as everyone does, by requests, a few at a time; [Advance] is what moves it on, and any
// worker process may call it at any moment. Everything it knows is in the ledger, so it survives every restart.
package backfill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// MaxInFlight is the most dates of one backfill that may be in flight.
const MaxInFlight = 100

// Errors of a person's making.
var (
	ErrNoDate   = errors.New("a backfill needs a first and a last date")
	ErrNotFound = errors.New("there is no such backfill: see `daymill backfill list`")
	ErrEnded    = errors.New("the backfill has ended")
	ErrFuture   = errors.New("a backfill takes dates that are over")
	ErrInFlight = fmt.Errorf("the dates in flight must be from 1 to %d", MaxInFlight)
	ErrPause    = errors.New("the pause must be from 0 to 24 hours")
)

// States of a backfill.
const (
	Running   = "running"
	Paused    = "paused"
	Complete  = "complete"
	Cancelled = "cancelled"
)

// Plan says what a backfill shall do.
type Plan struct {
	Range date.Range
	// NewestFirst takes the dates from the last to the first.
	NewestFirst bool
	// EveryDate takes dates that are complete, too.
	EveryDate bool
	// InFlight is how many dates may be requested or running at a time, over all workers; 1 where 0.
	InFlight int
	// Pause is how long to wait after a date has finished before the next is requested.
	Pause time.Duration
	// Erase has the metrics follow the events where those are fewer than were counted before; such dates are left alone
	// otherwise.
	Erase bool

	// By and Via say who asked and how: cli, web, api, river. By is the database user where empty.
	By, Via string
	// JobID is the River job that asked; nil where none did. A second Start for the same job starts nothing.
	JobID *int64
}

// Validate checks a plan against the current date of the reporting zone.
func (p Plan) Validate(today date.Date) error {
	switch {
	case p.Range.First.IsZero() || p.Range.Last.IsZero():
		return ErrNoDate
	case !p.Range.Last.Before(today):
		return fmt.Errorf("%w: %s is not, today being %s", ErrFuture, p.Range.Last, today)
	case p.InFlight < 0 || p.InFlight > MaxInFlight:
		return ErrInFlight
	case p.Pause < 0 || p.Pause > 24*time.Hour:
		return ErrPause
	}
	_, err := date.NewRange(p.Range.First, p.Range.Last)
	return err
}

// Start records a backfill in the caller's transaction, and who asked, and returns its id and the number of its dates; 0 and 0 where
// the plan's job has started it already.
func Start(ctx context.Context, on postgres.DBTX, plan Plan) (id, dates int64, err error) {
	queries := db.New(on)
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
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, nil
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

// Advance moves every backfill that is under way on, in the caller's transaction: it takes note of the dates that have
// finished and requests the next ones. One that another process is just moving on is left to it. It returns the events to
// tell once the transaction has committed, those that were cancelled since the last call included.
func Advance(ctx context.Context, on postgres.DBTX) ([]telemetry.Event, error) {
	queries := db.New(on)
	running, err := queries.BackfillRunning(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for backfills: %w", err)
	}
	var events []telemetry.Event
	for _, b := range running {
		step, err := advance(ctx, queries, b)
		if err != nil {
			return nil, fmt.Errorf("advance backfill %d: %w", b.ID, err)
		}
		events = append(events, step.events(b.ID)...)
	}
	cancelled, err := queries.BackfillTellCancelled(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for cancelled backfills: %w", err)
	}
	for _, id := range cancelled {
		events = append(events, telemetry.BackfillStop{ID: id, Outcome: telemetry.Cancelled})
	}
	return events, nil
}

// step is what moving a backfill on came to.
type step struct {
	begun, finished  bool
	ended, requested int64 // dates
}

func (s step) events(id int64) (events []telemetry.Event) {
	if s.begun {
		events = append(events, telemetry.BackfillStart{ID: id})
	}
	if s.ended > 0 || s.requested > 0 {
		events = append(events, telemetry.BackfillAdvance{ID: id, Ended: s.ended, Requested: s.requested})
	}
	if s.finished {
		events = append(events, telemetry.BackfillStop{ID: id, Outcome: telemetry.Complete})
	}
	return events
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

// SetState pauses, resumes or cancels a backfill, and writes down who did. Dates that are running end by themselves;
// cancelling withdraws the requests that no run has taken up.
func SetState(ctx context.Context, conn *postgres.DB, id int64, state string, who audit.Who) error {
	return conn.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		current, err := queries.BackfillLock(ctx, id)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("backfill %d: %w", id, ErrNotFound)
		case err != nil:
			return fmt.Errorf("look the backfill up: %w", err)
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

// Status is a backfill and how far it is.
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
	// DatesProtected kept their metrics, since their events are gone.
	DatesProtected int64 `json:"dates_protected"`

	// RemainingSeconds is an estimate from the dates that are complete; nil before the first, and once it has ended.
	RemainingSeconds *float64 `json:"remaining_seconds,omitempty"`
}

// Done is the number of dates that have ended, one way or another.
func (s Status) Done() int64 {
	return s.DatesComplete + s.DatesFailed + s.DatesCancelled + s.DatesProtected
}

// List returns the latest backfills, newest first: at most limit of them, those before an id where it is not 0.
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

// Conflicts is what is going on already in a range of dates.
type Conflicts struct {
	Backfills int64 // open ones that share dates with it
	Requested int64 // dates that are asked for
	Running   int64 // dates that are being rolled up
}

// FindConflicts looks for what is going on already in a range.
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

// DayCursor is where a page of a backfill's dates begins: after a date, which was among those that failed or past them.
// The zero value is the first page.
type DayCursor struct {
	After      date.Date
	PastFailed bool
}

// Cursor is where the page after the one that ends with d begins.
func (d Day) Cursor() DayCursor { return DayCursor{After: d.Date, PastFailed: d.State != "failed"} }

// Days lists dates of a backfill, in a state where that is not empty: those that failed first, and then by date.
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
