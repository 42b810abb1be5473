package view

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/definition"
)

// States of a view in reports.
const (
	StateBuilding = "building" // its first table is being filled
	StateServing  = "serving"
	StateStale    = "stale" // its table serves, but is not kept up to date until the next one is built
	StatePaused   = "paused"
)

// Report is the state of a view.
type Report struct {
	Name        string     `json:"name"`
	State       string     `json:"state"`
	Reason      string     `json:"reason,omitempty"`
	Rows        int64      `json:"rows"`         // of the table that serves, an estimate
	Behind      int64      `json:"behind"`       // changes in the log that the view has not looked at yet, also of other tables
	BehindSince *time.Time `json:"behind_since"` // when the oldest of them was committed
	Refreshed   int64      `json:"refreshed"`    // root keys, in total
	RefreshedAt *time.Time `json:"refreshed_at"`
	OpenDrift   int        `json:"open_drift"`
	OpenTasks   int        `json:"open_tasks"`
	FailedTasks int        `json:"failed_tasks"`
	CreatedAt   time.Time  `json:"created_at"`
	ServedAt    *time.Time `json:"served_at"`
	// Readings are about the tables that are read on a schedule.
	Readings []Reading `json:"readings,omitempty"`

	// Differing is the number of keys that differed in the last verification; 0 if they were corrected since.
	Differing int64 `json:"-"`
	// Failure is the last failed task; nil if there is none, or if a later task of the same table has done its work.
	Failure *Task `json:"-"`

	Tasks    []Task    `json:"-"` // newest first, without standing tasks
	Drift    []Drift   `json:"-"` // newest first
	Versions []Version `json:"-"`
}

// Reading says how far behind a table may be that is read on a schedule.
type Reading struct {
	Table string `json:"table"` // database, schema and name
	// Column is the column that shows changes within Every; empty if all changes are found within Full, as deletions always are.
	Column     string        `json:"column,omitempty"`
	Every      time.Duration `json:"-"`
	Full       time.Duration `json:"-"`
	Changes    float64       `json:"changes_within_seconds"`
	Deletions  float64       `json:"deletions_within_seconds"`
	LookedAt   *time.Time    `json:"looked_at"`
	ComparedAt *time.Time    `json:"compared_at"`
	Error      string        `json:"error,omitempty"`
}

// reported is the maximum number of tasks and of drift entries in a report.
const reported = 20

// Reports returns the reports of all views, by name.
func Reports(ctx context.Context, on postgres.DBTX) ([]Report, error) {
	views, err := List(ctx, on)
	if err != nil {
		return nil, err
	}
	reports := make([]Report, len(views))
	for i, v := range views {
		if reports[i], err = v.Report(ctx, on); err != nil {
			return nil, err
		}
	}
	return reports, nil
}

// Report returns the state of the view.
func (v View) Report(ctx context.Context, on postgres.DBTX) (r Report, err error) {
	r = Report{Name: v.Name, State: StateBuilding, Refreshed: v.Refreshed, RefreshedAt: v.RefreshedAt, CreatedAt: v.CreatedAt}
	if r.Tasks, err = Tasks(ctx, on, v.ID, reported); err != nil {
		return r, err
	}
	if r.Drift, err = Drifts(ctx, on, v.ID, reported); err != nil {
		return r, err
	}
	if r.Versions, err = Versions(ctx, on, v.ID); err != nil {
		return r, err
	}
	failing := ""
	for _, version := range r.Versions {
		if version.State == Serving {
			r.State, r.ServedAt, r.Reason = StateServing, version.ServedAt, version.Stale
			if version.Stale != "" {
				r.State = StateStale
			}
			if r.Rows, err = estimate(ctx, on, version.Table); err != nil {
				return r, err
			}
		}
		for _, stream := range version.Plan.Streams() {
			behind, since, cause, err := lag(ctx, on, v.Consumer(stream), stream)
			if err != nil {
				return r, err
			}
			r.Behind = max(r.Behind, behind)
			if !since.IsZero() && (r.BehindSince == nil || since.Before(*r.BehindSince)) {
				r.BehindSince = &since
			}
			if cause != "" {
				failing = cause
			}
		}
	}
	standing, err := Standing(ctx, on, v.ID)
	if err != nil {
		return r, err
	}
	r.readings(standing)
	r.count(standing)
	if r.Reason == "" {
		r.Reason = failing
	}
	if v.PausedAt != nil {
		r.State, r.Reason = StatePaused, v.PausedBecause
	}
	return r, nil
}

// count counts tasks and drift.
func (r *Report) count(standing []Task) {
	for _, t := range slices.Concat(r.Tasks, standing) {
		switch open := t.State == Queued || t.State == Running; {
		case t.State == Failed:
			r.FailedTasks++
		case open && r.Reason == "":
			r.Reason = t.Error
		}
	}
	r.Tasks = slices.DeleteFunc(r.Tasks, Task.Stands)
	for i, t := range r.Tasks {
		if t.State == Queued || t.State == Running {
			r.OpenTasks++
		}
		if t.Version == 0 {
			continue // Its table was replaced.
		}
		later := r.Tasks[:i]
		// A build corrects all rows, and a verification replaces an earlier one, or shows that all rows are right.
		if made := slices.ContainsFunc(later, func(l Task) bool {
			return l.Version == t.Version && l.State == Done && (l.Kind == TaskBuild || l.Kind == TaskVerify && (t.Kind == TaskVerify || l.Differing <= l.Repaired))
		}); made {
			continue
		}
		if t.State == Failed && r.Failure == nil {
			r.Failure = &r.Tasks[i]
		}
		if t.Kind == TaskVerify && t.State == Done {
			r.Differing = max(r.Differing, t.Differing-t.Repaired)
		}
	}
	for _, d := range r.Drift {
		if d.State == Open {
			r.OpenDrift++
		}
	}
}

// readings adds the readings of the newest table.
func (r *Report) readings(tasks []Task) {
	if len(r.Versions) == 0 {
		return
	}
	version := r.Versions[len(r.Versions)-1]
	for i, source := range version.Plan.Sources {
		if !source.Scheduled {
			continue
		}
		t, schedule := version.Plan.Definition.Tables[i], version.Plan.Definition.Schedule
		reading := Reading{
			Table: t.Database + "." + t.Schema + "." + t.Name, Column: t.Changed, Every: schedule.Every, Full: schedule.Full,
			Changes: schedule.Every.Seconds(), Deletions: schedule.Full.Seconds(),
		}
		if t.Changed == "" {
			reading.Every, reading.Changes = schedule.Full, reading.Deletions
		}
		if slices.ContainsFunc(r.Readings, func(other Reading) bool { return other.Table == reading.Table }) {
			continue // It is joined twice.
		}
		for _, task := range tasks {
			if task.Version != version.ID || task.Table != i || !task.Stands() {
				continue
			}
			if task.Kind == TaskPoll {
				reading.LookedAt = task.LookedAt
			} else {
				reading.ComparedAt = task.LookedAt
			}
			if task.Error != "" {
				reading.Error = task.Error
			}
		}
		r.Readings = append(r.Readings, reading)
	}
}

// estimate returns about how many rows a table has.
func estimate(ctx context.Context, on postgres.DBTX, table string) (int64, error) {
	count, err := db.New(on).ViewRows(ctx, table)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("estimate the rows of %s: %w", table, err)
	}
	return count, nil
}

// Definition returns the definition that was applied last, as YAML; empty if there is none.
func (r *Report) Definition() (string, error) {
	if len(r.Versions) == 0 {
		return "", nil
	}
	return definition.YAML(r.Versions[len(r.Versions)-1].Plan.Definition)
}

// lag returns how many changes of a stream a consumer has not applied yet, when the first of them was
// committed, and why the consumer fails, if it does.
func lag(ctx context.Context, on postgres.DBTX, name, stream string) (behind int64, since time.Time, cause string, err error) {
	shards, err := consumer.Shards(ctx, on, name)
	if err != nil || len(shards) == 0 {
		return 0, since, "", err
	}
	head, err := db.New(on).StreamHead(ctx, stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, since, "", nil
	}
	if err != nil {
		return 0, since, "", fmt.Errorf("read stream %s: %w", stream, err)
	}
	for _, s := range shards {
		behind = max(behind, head.Position-s.Position)
		if s.Failures > 0 {
			cause = s.Error
		}
	}
	if behind > 0 {
		since, err = log.Log{}.Next(ctx, on, stream, head.Position-behind)
	}
	return behind, since, cause, err
}
