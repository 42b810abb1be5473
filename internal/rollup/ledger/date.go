package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// ErrUnknownDate says that a date never had a run and has no open request.
var ErrUnknownDate = errors.New("nobody has requested the date")

// Filter says which dates to list.
type Filter struct {
	State string // empty means any
	Range date.Range
	// Before lists dates before a date, and After dates after one. At most one is set; without either, the latest are listed.
	Before, After *date.Date
}

// DateRow is a date with the figures of its last complete run.
type DateRow struct {
	Date        date.Date
	State       string
	CompletedAt *time.Time // nil if it was never complete; the figures are then 0
	Events      int64
	Entities    int64
	RowsChanged int64         // inserted, updated and deleted
	Took        time.Duration // including pauses; 0 if the run is no longer in the ledger
}

// Dates lists at most limit dates of the ledger, latest first. more reports whether there are further dates in the direction of
// the filter.
func Dates(ctx context.Context, on postgres.DBTX, filter Filter, limit int) (list []DateRow, more bool, err error) {
	rows, err := db.New(on).LedgerDateList(ctx, db.LedgerDateListParams{
		State: filter.State, FirstDate: filter.Range.First, LastDate: filter.Range.Last,
		BeforeDate: filter.Before, AfterDate: filter.After, MaxRows: int32(limit) + 1, //nolint:gosec // A page.
	})
	if err != nil {
		return nil, false, fmt.Errorf("list dates: %w", err)
	}
	if more = len(rows) > limit; more && filter.After != nil {
		rows = rows[1:]
	} else if more {
		rows = rows[:limit]
	}
	list = make([]DateRow, len(rows))
	for i, r := range rows {
		list[i] = DateRow{
			Date: r.MetricDate, State: r.State, CompletedAt: r.CompletedAt, Events: r.Events, Entities: r.Entities,
			RowsChanged: r.RowsChanged, Took: time.Duration(r.TookMs) * time.Millisecond,
		}
	}
	return list, more, nil
}

// MostOpen is how many open requests of a date are counted: it means that many or more.
const MostOpen = 1000

// Date is what the ledger knows about a date.
type Date struct {
	State       string
	CompletedAt *time.Time // nil if it was never complete
	Events      int64      // of its last complete run, as is
	Entities    int64
	Requests    int64      // open requests, up to MostOpen
	DueAt       *time.Time // of the first open request; nil if none has a due time
	// Complete is the last complete run, and Last the latest run. Each is nil if there is none or if it is no longer in the ledger.
	Complete, Last *Run
}

// ReadDate returns a date, or ErrUnknownDate.
func ReadDate(ctx context.Context, on postgres.DBTX, of date.Date) (Date, error) {
	queries := db.New(on)
	row, err := queries.LedgerDateGet(ctx, of)
	if errors.Is(err, pgx.ErrNoRows) {
		return Date{}, ErrUnknownDate
	}
	if err != nil {
		return Date{}, fmt.Errorf("read the date: %w", err)
	}
	d := Date{
		State: row.State, CompletedAt: row.CompletedAt, Events: row.Events, Entities: row.Entities, Requests: row.OpenRequests,
	}
	if row.OpenRequests > 0 && row.DueAt.Unix() != 0 {
		d.DueAt = &row.DueAt
	}
	ids := []int64{row.RunID}
	if row.CompleteRunID != nil {
		ids = append(ids, *row.CompleteRunID)
	}
	runs, err := queries.LedgerRunGet(ctx, ids)
	if err != nil {
		return Date{}, fmt.Errorf("read the date's runs: %w", err)
	}
	for _, r := range runs {
		one := newRun(r)
		if r.ID == row.RunID {
			d.Last = &one
		}
		if row.CompleteRunID != nil && r.ID == *row.CompleteRunID {
			d.Complete = &one
		}
	}
	return d, nil
}

// Request is an open request for a rollup of a date.
type Request struct {
	ID          int64
	RequestedAt time.Time
	DueAt       *time.Time // nil if it has no due time
	By, Via     string
	BackfillID  *int64
	RunID       *int64 // the run that has claimed it
}

// Requests lists at most limit open requests of a date, earliest first.
func Requests(ctx context.Context, on postgres.DBTX, of date.Date, limit int) ([]Request, error) {
	rows, err := db.New(on).LedgerDateRequests(ctx, db.LedgerDateRequestsParams{MetricDate: of, MaxRows: int32(limit)}) //nolint:gosec // A page.
	if err != nil {
		return nil, fmt.Errorf("list the date's requests: %w", err)
	}
	all := make([]Request, len(rows))
	for i, r := range rows {
		all[i] = Request{
			ID: r.ID, RequestedAt: r.RequestedAt, By: r.RequestedBy, Via: r.RequestedVia, BackfillID: r.BackfillID, RunID: r.RunID,
		}
		if r.DueAt.Unix() != 0 {
			all[i].DueAt = &rows[i].DueAt
		}
	}
	return all, nil
}

// Job is a River job of a date, as the history keeps it.
type Job struct {
	ID                     int64
	State                  string
	Attempt, MaxAttempts   int
	CreatedAt, ScheduledAt time.Time
	FinalizedAt            *time.Time
	Pruned                 bool // River has deleted its row
}

// Jobs lists at most limit jobs of a date, latest first.
func Jobs(ctx context.Context, on postgres.DBTX, of date.Date, limit int) ([]Job, error) {
	rows, err := db.New(on).LedgerDateJobs(ctx, db.LedgerDateJobsParams{MetricDate: of, MaxRows: int32(limit)}) //nolint:gosec // A page.
	if err != nil {
		return nil, fmt.Errorf("list the date's jobs: %w", err)
	}
	all := make([]Job, len(rows))
	for i, r := range rows {
		all[i] = Job{
			ID: r.ID, State: r.State, Attempt: int(r.Attempt), MaxAttempts: int(r.MaxAttempts), CreatedAt: r.CreatedAt,
			ScheduledAt: r.ScheduledAt, FinalizedAt: r.FinalizedAt, Pruned: r.Pruned,
		}
	}
	return all, nil
}

// Events returns, for each date of a range, how many events its last complete run counted. It leaves out
// dates that were never complete.
func Events(ctx context.Context, on postgres.DBTX, of date.Range) (map[date.Date]int64, error) {
	rows, err := db.New(on).DateEvents(ctx, db.DateEventsParams{FirstDate: of.First, LastDate: of.Last})
	if err != nil {
		return nil, fmt.Errorf("read the events of dates: %w", err)
	}
	events := make(map[date.Date]int64, len(rows))
	for _, row := range rows {
		events[row.MetricDate] = row.Events
	}
	return events, nil
}
