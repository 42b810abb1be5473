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
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/schedule"
)

// Status is a summary of the ledger.
type Status struct {
	// Dates counts dates by state.
	Dates map[string]int64 `json:"dates"`
	// FirstComplete and LastComplete are the first and last complete dates; empty if there is none.
	FirstComplete date.Date `json:"first_complete"`
	LastComplete  date.Date `json:"last_complete"`
	// Broken lists dates that need a person, latest first.
	Broken []Broken `json:"broken"`
	// Runs lists the latest runs, newest first.
	Runs []Run `json:"runs"`
	// LastSchedule is when the daily job last did its work; nil if it never has.
	LastSchedule *time.Time `json:"last_schedule,omitempty"`
	// SchedulePaused is when the daily job was paused; nil if it is not paused.
	SchedulePaused *time.Time `json:"schedule_paused,omitempty"`
	// NextDue is when the first waiting date is due; nil if none waits.
	NextDue *time.Time `json:"next_due,omitempty"`
	// Workers lists the worker processes that are alive, latest started first.
	Workers []presence.Worker `json:"workers"`
}

// Broken is a date that failed, was cancelled or is stale.
type Broken struct {
	Date  date.Date `json:"date"`
	State string    `json:"state"`
	Error string    `json:"error"`
}

// mostBroken is how many broken dates are listed.
const mostBroken = 20

// Read returns the status, with at most limit runs.
func Read(ctx context.Context, conn *postgres.DB, limit int) (status Status, err error) {
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		status, err = read(ctx, on, limit)
		return err
	})
	return status, err
}

func read(ctx context.Context, on postgres.DBTX, limit int) (Status, error) {
	queries := db.New(on)
	dates, err := queries.LedgerDates(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("count dates: %w", err)
	}
	status := Status{
		Dates:         byState(dates),
		FirstComplete: dates.FirstComplete, LastComplete: dates.LastComplete,
		Broken: []Broken{},
	}
	broken, err := queries.LedgerBroken(ctx, mostBroken)
	if err != nil {
		return Status{}, fmt.Errorf("list broken dates: %w", err)
	}
	for _, b := range broken {
		status.Broken = append(status.Broken, Broken{Date: b.MetricDate, State: b.State, Error: b.Error})
	}
	runs, err := queries.LedgerRuns(ctx, int32(limit)) //nolint:gosec // A page.
	if err != nil {
		return Status{}, fmt.Errorf("list runs: %w", err)
	}
	status.Runs = newRuns(runs)
	daily, err := queries.ScheduleGet(ctx, schedule.Name)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Status{}, fmt.Errorf("read the schedule: %w", err)
	}
	status.LastSchedule, status.SchedulePaused = daily.LastRunAt, daily.PausedAt
	due, err := queries.LedgerNextDue(ctx)
	if err == nil {
		status.NextDue = &due
	} else if !errors.Is(err, pgx.ErrNoRows) {
		return Status{}, fmt.Errorf("look for dates that wait: %w", err)
	}
	status.Workers, err = presence.List(ctx, on, presence.Alive)
	return status, err
}
