package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Kinds of tasks.
const (
	TaskBuild   = "build"
	TaskRefresh = "refresh"
	TaskVerify  = "verify"
	// TaskPoll and TaskCompare never end: they read a table on a schedule.
	TaskPoll    = "poll"
	TaskCompare = "compare"
)

// States of tasks.
const (
	Queued   = "queued"
	Running  = "running"
	Done     = "done"
	Failed   = "failed"
	Canceled = "canceled"
)

// Task is work on a view's table that is done in chunks.
type Task struct {
	ID         int64      `json:"id"`
	View       int64      `json:"-"`
	Version    int64      `json:"-"`
	Kind       string     `json:"kind"`
	State      string     `json:"state"`
	Table      int        `json:"-"` // index of the table whose changed rows a refresh is about, or of the table that is read
	Keys       roots      `json:"-"`
	Repair     bool       `json:"repair"`
	Stage      int        `json:"-"`         // which table the cursor is in
	Cursor     []string   `json:"-"`         // the last key that is done, of the root or of a table that is copied or compared
	Done       int64      `json:"done"`      // root keys
	Total      int64      `json:"total"`     // an estimate; 0 if there is none
	Differing  int64      `json:"differing"` // root keys that a verification found different
	Repaired   int64      `json:"repaired"`
	Copied     int64      `json:"copied"`   // rows of other databases that were copied or compared
	Misfits    int64      `json:"misfits"`  // values that do not fit the type of their column, and became NULL
	Examples   []string   `json:"examples"` // root keys that differ, at most a hundred
	Failures   int        `json:"failures"`
	Error      string     `json:"error"`
	Actor      string     `json:"actor"`
	Via        string     `json:"via"`
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at"`
	MovedAt    *time.Time `json:"moved_at"`
	FinishedAt *time.Time `json:"finished_at"`
	RetryAt    *time.Time `json:"-"` // when to work on it next; nil means now
	LookedAt   *time.Time `json:"-"` // when the last complete round of a standing task began

	keyed      bool
	since      *string
	watermarks []string // of rows of other databases, which may not have landed: see settle
}

// Stands reports whether the task is a standing task, which is repeated without end.
func (t Task) Stands() bool { return t.Kind == TaskPoll || t.Kind == TaskCompare }

// Waits reports whether the task has to wait, such as until a worker reads changes. Its error says until when.
func (t Task) Waits() bool { return strings.Contains(t.Error, waits) }

// CopiedVerb says what was done with rows of other databases.
func (t Task) CopiedVerb() string {
	if t.Kind == TaskVerify {
		return "compared"
	}
	return "copied"
}

// Left returns an estimate of the remaining time; 0 if that is not known.
func (t Task) Left(now time.Time) time.Duration {
	if t.State != Running || t.StartedAt == nil || t.Done == 0 || t.Total <= t.Done {
		return 0
	}
	return time.Duration(float64(now.Sub(*t.StartedAt)) / float64(t.Done) * float64(t.Total-t.Done))
}

func task(row db.ViewTaskGetRow) (Task, error) {
	t := Task{
		ID: row.ID, View: row.ViewID, Version: row.VersionID, Kind: row.Kind, State: row.State, Table: int(row.TableIndex), Repair: row.Repair,
		Stage: int(row.Stage), Cursor: row.Cursor, Done: row.Done, Total: row.Total, Differing: row.Differing, Repaired: row.Repaired, Misfits: row.Misfits, Copied: row.Copied,
		Failures: int(row.Failures), Error: row.Error, Actor: row.Actor, Via: row.Via, CreatedAt: row.CreatedAt, StartedAt: row.StartedAt,
		MovedAt: row.MovedAt, FinishedAt: row.FinishedAt, RetryAt: row.RetryAt, LookedAt: row.LookedAt,
		keyed: row.Keys != "", since: row.Since, watermarks: row.Watermarks,
	}
	if err := json.Unmarshal(row.Examples, &t.Examples); err != nil {
		return t, fmt.Errorf("read a task: %w", err)
	}
	if t.keyed {
		var keys []json.RawMessage // In SQL, a value may be a number.
		err := json.Unmarshal([]byte(row.Keys), &keys)
		t.Keys = make(roots, len(keys))
		for i, key := range keys {
			if err == nil {
				t.Keys[i], err = ParseKey(string(key))
			}
		}
		if err != nil {
			return t, fmt.Errorf("the keys of task %d cannot be read: give a text for each key, or a JSON array of texts if the key has several columns: %w", t.ID, err)
		}
	}
	return t, nil
}

// GetTask returns a task. It returns ErrNoTask if there is none.
func GetTask(ctx context.Context, on postgres.DBTX, id int64) (Task, error) {
	row, err := db.New(on).ViewTaskGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return Task{}, ErrNoTask
	}
	if err != nil {
		return Task{}, fmt.Errorf("read task %d: %w", id, err)
	}
	return task(row)
}

// ErrNoTask says that no task has the id.
var ErrNoTask = errors.New("there is no such task: `daymill view show` lists the tasks of a view")

// Tasks returns a view's tasks, newest first.
func Tasks(ctx context.Context, on postgres.DBTX, view int64, most int) ([]Task, error) {
	rows, err := db.New(on).ViewTaskList(ctx, db.ViewTaskListParams{ViewID: view, MaxRows: int32(min(most, maxList))}) //nolint:gosec // Bounded.
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	tasks := make([]Task, len(rows))
	for i, row := range rows {
		if tasks[i], err = task(db.ViewTaskGetRow(row)); err != nil {
			return nil, err
		}
	}
	return tasks, nil
}

// Standing returns the standing tasks of a view.
func Standing(ctx context.Context, on postgres.DBTX, view int64) ([]Task, error) {
	rows, err := db.New(on).ViewTaskStanding(ctx, view)
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	tasks := make([]Task, len(rows))
	for i, row := range rows {
		if tasks[i], err = task(db.ViewTaskGetRow(row)); err != nil {
			return nil, err
		}
	}
	return tasks, nil
}
