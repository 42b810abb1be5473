// Package job is the history of Daymill's jobs: daymill.jobs, which triggers keep equal to River's table, and which keeps
// jobs longer than River does.
//
// A filter has four parts, and a table of a million jobs cannot have an index for every combination of them. So each query
// uses one of three ways, none of which reads more than about ten thousand rows:
//
//   - by the dates, if the range has few jobs ([Narrow]);
//   - by the words, if the planner expects few jobs with them;
//   - by scanning the jobs of the states and the kind in the order of their ids, [Budget] of them at a time. A page that is not full by
//     then says how far the scan got, and the next page continues there: no job is left out.
package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// States returns River's states in the order in which a job passes through them.
func States() []string {
	return []string{"available", "running", "retryable", "scheduled", "pending", "completed", "cancelled", "discarded"}
}

// ErrNotFound means that no job has this id: it never existed, was deleted, or is older than the retention.
var ErrNotFound = errors.New("there is no such job")

// Filter selects jobs. The zero value selects all.
type Filter struct {
	State string
	Kind  string
	// First and Last are the bounds of rollup_day jobs' dates, both included; a zero date is no bound.
	First, Last date.Date
	// Text is words of the kind, the arguments and the errors, as typed into a search.
	Text string
}

// IsZero reports whether the filter selects every job.
func (f Filter) IsZero() bool { return f == Filter{} }

// indexed reports whether the filter has only state and kind, which have indexes in the order of the ids.
func (f Filter) indexed() bool { return !f.hasDates() && f.Text == "" }

func (f Filter) hasDates() bool { return !f.First.IsZero() || !f.Last.IsZero() }

func (f Filter) states() []string {
	if f.State != "" {
		return []string{f.State}
	}
	return States()
}

// dates returns the bounds in the form for Postgres.
func (f Filter) dates() (first, last date.Date) {
	first, last = f.First, f.Last
	if first.IsZero() {
		first = date.New(1, time.January, 1)
	}
	if last.IsZero() {
		last = date.New(9999, time.December, 31)
	}
	return first, last
}

// Job is a row of the list.
type Job struct {
	ID          int64
	Kind        string
	Date        date.Date // zero if it has none
	State       string
	Attempt     int
	MaxAttempts int
	CreatedAt   time.Time
	ScheduledAt time.Time
	AttemptedAt *time.Time
	FinalizedAt *time.Time
	Pruned      bool   // River has deleted its row
	Error       string // the beginning of the last one
}

func list(ctx context.Context, on postgres.DBTX, ids []int64) ([]Job, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := db.New(on).JobList(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read jobs: %w", err)
	}
	all := make([]Job, len(rows))
	for i, r := range rows {
		all[i] = Job{
			ID: r.ID, Kind: r.Kind, Date: orZero(r.MetricDate), State: r.State,
			Attempt: int(r.Attempt), MaxAttempts: int(r.MaxAttempts), CreatedAt: r.CreatedAt, ScheduledAt: r.ScheduledAt,
			AttemptedAt: r.AttemptedAt, FinalizedAt: r.FinalizedAt, Pruned: r.PrunedAt != nil, Error: r.Error,
		}
	}
	return all, nil
}

func orZero(d *date.Date) date.Date {
	if d == nil {
		return date.Date{}
	}
	return *d
}

// Detail is everything known about a job.
type Detail struct {
	Job

	Args        string // JSON
	Queue       string
	Priority    int
	AttemptedBy string // the process that tried last
	Errors      string // JSON: River's objects with at, attempt, error and trace, oldest first
	Output      string // JSON; empty if it has none
	PrunedAt    *time.Time
}

// Get returns one job, or ErrNotFound.
func Get(ctx context.Context, on postgres.DBTX, id int64) (Detail, error) {
	queries := db.New(on)
	r, err := queries.JobGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return Detail{}, ErrNotFound
	}
	if err != nil {
		return Detail{}, fmt.Errorf("read job %d: %w", id, err)
	}
	return Detail{
		Job: Job{
			ID: r.ID, Kind: r.Kind, Date: orZero(r.MetricDate), State: r.State,
			Attempt: int(r.Attempt), MaxAttempts: int(r.MaxAttempts), CreatedAt: r.CreatedAt, ScheduledAt: r.ScheduledAt,
			AttemptedAt: r.AttemptedAt, FinalizedAt: r.FinalizedAt, Pruned: r.PrunedAt != nil,
		},
		Args: r.Args, Queue: r.Queue, Priority: int(r.Priority), AttemptedBy: r.AttemptedBy, Errors: r.Errors, Output: r.Output,
		PrunedAt: r.PrunedAt,
	}, nil
}

// Forget deletes the history of jobs and returns how many had one.
func Forget(ctx context.Context, on postgres.DBTX, ids []int64) (int64, error) {
	forgotten, err := db.New(on).JobForget(ctx, ids)
	if err != nil {
		return 0, fmt.Errorf("delete the history of jobs: %w", err)
	}
	return forgotten, nil
}

// Snapshot is the time at which somebody viewed the list: later jobs, and jobs that have changed since, are excluded.
type Snapshot struct {
	MaxID int64
	At    time.Time
}

// Now takes a snapshot by the database's clock.
func Now(ctx context.Context, on postgres.DBTX) (Snapshot, error) {
	row, err := db.New(on).JobSnapshot(ctx)
	if err != nil {
		return Snapshot{}, fmt.Errorf("take a snapshot of the jobs: %w", err)
	}
	return Snapshot{MaxID: row.MaxID, At: row.At}, nil
}

// farFuture is later than every change.
func farFuture() time.Time { return time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC) }

// Ref identifies a job for an action on it.
type Ref struct {
	ID    int64
	Kind  string
	Date  date.Date
	State string
}

// Still returns the given jobs that match a filter and have not changed since a snapshot, newest first. With a zero snapshot,
// it returns all that match.
func Still(ctx context.Context, on postgres.DBTX, filter Filter, since Snapshot, ids []int64) ([]Ref, error) {
	if since.At.IsZero() {
		since.At = farFuture()
	}
	first, last := filter.dates()
	rows, err := db.New(on).JobStill(ctx, db.JobStillParams{
		Ids: ids, State: filter.State, Kind: filter.Kind, HasDates: filter.hasDates(), FirstDate: first, LastDate: last,
		Typed: filter.Text, ChangedBy: since.At,
	})
	if err != nil {
		return nil, fmt.Errorf("look at jobs again: %w", err)
	}
	all := make([]Ref, len(rows))
	for i, r := range rows {
		all[i] = Ref{ID: r.ID, Kind: r.Kind, Date: orZero(r.MetricDate), State: r.State}
	}
	return slices.Clip(all), nil
}
