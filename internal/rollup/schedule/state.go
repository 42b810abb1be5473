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

// State is the daily job's state in the ledger.
type State struct {
	// LastRunAt is when the job last did its work; nil if it never has.
	LastRunAt *time.Time
	// PausedAt is when the job was paused; nil if it is not paused.
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

// Next returns the first instant after now at which the daily job is due; nil while it is paused. The caller gets daily from a
// worker: see DailyOf.
func (s State) Next(daily Daily, now time.Time) *time.Time {
	if s.PausedAt != nil {
		return nil
	}
	next := daily.Next(now)
	return &next
}

// Pause stops the daily job from requesting dates until Resume. Dates that it has already requested, and dates that others request,
// are still rolled up. Pausing again changes nothing. The audit records who did it.
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

// Resume lets the daily job request dates again. If the daily hour has passed in the meantime, the job runs within about a minute.
// The audit records who did it.
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

// Outcome is the state of the latest job of a kind.
type Outcome struct {
	JobID int64
	State string // River's
	At    time.Time
	// Error is the error of the last failed attempt; empty if none failed.
	Error string
}

// Latest returns the state of the latest job of each periodic kind, by name. Kinds that never had a job are missing.
func Latest(ctx context.Context, on postgres.DBTX, names []string) (map[string]Outcome, error) {
	rows, err := db.New(on).ScheduleLatest(ctx, db.ScheduleLatestParams{Kinds: names, States: jobStates()})
	if err != nil {
		return nil, fmt.Errorf("read the latest jobs: %w", err)
	}
	all := make(map[string]Outcome, len(rows))
	for _, row := range rows {
		all[row.Kind] = Outcome{JobID: row.ID, State: row.State, At: row.At, Error: row.Error}
	}
	return all, nil
}

func jobStates() []string {
	return []string{"available", "cancelled", "completed", "discarded", "pending", "retryable", "running", "scheduled"}
}

// Past is a job of the history.
type Past struct {
	Outcome // At is when it was due

	// Took is how long its last attempt took; nil if that has not ended.
	Took *time.Duration
}

// History returns the latest jobs of each of some kinds, newest first, at most limit each, by name.
func History(ctx context.Context, on postgres.DBTX, names []string, limit int) (map[string][]Past, error) {
	rows, err := db.New(on).ScheduleHistory(ctx, db.ScheduleHistoryParams{
		Kinds: names, States: jobStates(), MaxRows: int32(limit), //nolint:gosec // A page.
	})
	if err != nil {
		return nil, fmt.Errorf("read the history of the schedules: %w", err)
	}
	all := make(map[string][]Past)
	for _, row := range rows {
		if len(all[row.Kind]) == limit {
			continue
		}
		one := Past{Outcome: Outcome{JobID: row.ID, State: row.State, At: row.ScheduledAt, Error: row.Error}}
		if row.AttemptedAt != nil && row.FinalizedAt != nil {
			took := row.FinalizedAt.Sub(*row.AttemptedAt)
			one.Took = &took
		}
		all[row.Kind] = append(all[row.Kind], one)
	}
	return all, nil
}

// Today returns the current date of the reporting zone. It asks Postgres, because Postgres also decides where dates begin, and its
// time zone database may differ from this process's.
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
