package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// StatePlanned is the state in a calendar of a date that never had a run and that an open backfill has not requested yet.
const StatePlanned = "planned"

// StateCount has the number of dates in a state, and the first and last of them.
type StateCount struct {
	State       string
	Dates       int64
	First, Last date.Date
}

// States counts the dates of the ledger by state. States without a date are left out.
func States(ctx context.Context, on postgres.DBTX) ([]StateCount, error) {
	rows, err := db.New(on).CalendarStates(ctx)
	if err != nil {
		return nil, fmt.Errorf("count dates: %w", err)
	}
	all := make([]StateCount, len(rows))
	for i, r := range rows {
		all[i] = StateCount{State: r.State, Dates: r.Dates, First: r.FirstDate, Last: r.LastDate}
	}
	return all, nil
}

// Day is a date in a calendar.
type Day struct {
	Date  date.Date
	State string // of analytics.date_states, or StatePlanned
	// Events is how many events its last complete run counted; 0 if it was never complete.
	Events int64
}

// Calendar returns the dates of a range that the ledger knows, in order. The range should be about a year.
func Calendar(ctx context.Context, on postgres.DBTX, of date.Range) ([]Day, error) {
	rows, err := db.New(on).CalendarDates(ctx, db.CalendarDatesParams{FirstDate: of.First, LastDate: of.Last})
	if err != nil {
		return nil, fmt.Errorf("read the calendar: %w", err)
	}
	all := make([]Day, 0, len(rows))
	for _, r := range rows {
		if n := len(all); n > 0 && all[n-1].Date == r.MetricDate {
			// The date is in two backfills, or also has a request, whose state is more important.
			if all[n-1].State == StatePlanned {
				all[n-1] = Day{Date: r.MetricDate, State: r.State, Events: r.Events}
			}
			continue
		}
		all = append(all, Day{Date: r.MetricDate, State: r.State, Events: r.Events})
	}
	return all, nil
}

// Failure is a date whose last run did not end well.
type Failure struct {
	Date  date.Date
	State string // failed, retrying, cancelled or interrupted
	// At is when that run ended; nil if it stopped giving signs of life, or is no longer in the ledger.
	At *time.Time
	// JobID is the River job that the run belonged to; nil if there was none.
	JobID *int64
	Error string // cut to 1,000 characters; empty if there was none
}

// Failures lists at most limit dates whose last run did not end well, latest failure first.
func Failures(ctx context.Context, on postgres.DBTX, limit int) ([]Failure, error) {
	rows, err := db.New(on).CalendarFailures(ctx, int32(limit)) //nolint:gosec // A page.
	if err != nil {
		return nil, fmt.Errorf("list failures: %w", err)
	}
	all := make([]Failure, len(rows))
	for i, r := range rows {
		all[i] = Failure{Date: r.MetricDate, State: r.State, At: r.FinishedAt, JobID: r.JobID, Error: r.Error}
	}
	return all, nil
}
