package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// ErrPaused says that somebody has paused the daily job.
var ErrPaused = errors.New("the daily job is paused")

// State is what the ledger remembers of the daily job.
type State struct {
	// LastRunAt is when it last did its work; nil where it never has.
	LastRunAt *time.Time
	// PausedAt is since when it has been paused; nil where it is not.
	PausedAt *time.Time
}

// Read returns the daily job's state, which is the zero value before its first run.
func Read(ctx context.Context, conn *postgres.DB) (state State, err error) {
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		row, err := db.New(on).ScheduleGet(ctx, Name)
		state = State{LastRunAt: row.LastRunAt, PausedAt: row.PausedAt}
		return err
	})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return State{}, fmt.Errorf("read the schedule: %w", err)
	}
	return state, nil
}

// Next returns the first instant after now at which the daily job is due; nil while it is paused. The hour is the
// workers' to know: see ledger.Worker.
func (s State) Next(daily Daily, now time.Time) *time.Time {
	if s.PausedAt != nil {
		return nil
	}
	next := daily.Next(now)
	return &next
}

// Pause keeps the daily job from asking for dates until Resume. What it has asked for is rolled up all the same, and so
// is what others ask for. Pausing it again changes nothing. Who did it is written down.
func Pause(ctx context.Context, conn *postgres.DB, who audit.Who) error {
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		if err := db.New(tx).SchedulePause(ctx, Name); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "pause schedule", Target: Name})
	})
	if err != nil {
		return fmt.Errorf("pause the schedule: %w", err)
	}
	return nil
}

// Resume lets the daily job ask for dates again: within a minute or so for those that it has missed, where its hour has
// come meanwhile. Who did it is written down.
func Resume(ctx context.Context, conn *postgres.DB, who audit.Who) error {
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		if err := db.New(tx).ScheduleResume(ctx, Name); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "resume schedule", Target: Name})
	})
	if err != nil {
		return fmt.Errorf("resume the schedule: %w", err)
	}
	return nil
}

// Outcome is how the latest job of a periodic one stands.
type Outcome struct {
	JobID int64
	State string // River's
	At    time.Time
	// Error is that of the last attempt that failed; empty where none has.
	Error string
}

// Latest returns how the latest jobs of periodic ones stand, by name; those that never were are not in it.
func Latest(ctx context.Context, on postgres.DBTX, names []string) (map[string]Outcome, error) {
	rows, err := db.New(on).ScheduleLatest(ctx, db.ScheduleLatestParams{Kinds: names, States: []string{
		"available", "cancelled", "completed", "discarded", "pending", "retryable", "running", "scheduled",
	}})
	if err != nil {
		return nil, fmt.Errorf("read the latest jobs: %w", err)
	}
	all := make(map[string]Outcome, len(rows))
	for _, row := range rows {
		all[row.Kind] = Outcome{JobID: row.ID, State: row.State, At: row.At, Error: row.Error}
	}
	return all, nil
}

// Today returns the current date of the reporting zone. It asks Postgres, which also says where dates begin: its time
// zone database may differ from this process's.
func Today(ctx context.Context, conn *postgres.DB, clock pace.Clock) (today date.Date, err error) {
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		today, err = db.New(on).DateOf(ctx, clock.Now())
		return err
	})
	if err != nil {
		return date.Date{}, fmt.Errorf("ask for the date: %w", err)
	}
	return today, nil
}

// List returns the states of all periodic jobs that the ledger knows, by name.
func List(ctx context.Context, on postgres.DBTX) (map[string]State, error) {
	rows, err := db.New(on).ScheduleList(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the schedules: %w", err)
	}
	states := make(map[string]State, len(rows))
	for _, row := range rows {
		states[row.Name] = State{LastRunAt: row.LastRunAt, PausedAt: row.PausedAt}
	}
	return states, nil
}
