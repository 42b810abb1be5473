package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/figure"
)

// Run is a run of a date.
type Run struct {
	figure.Figures

	ID           int64      `json:"id"`
	Date         date.Date  `json:"date"`
	State        string     `json:"state"`
	Worker       string     `json:"worker"`
	JobID        *int64     `json:"-"` // nil if `daymill rollup` ran it
	Attempt      int        `json:"-"` // of the job
	ResumedRunID *int64     `json:"-"` // the run that this run resumed; nil if none
	StartedAt    time.Time  `json:"started_at"`
	FinishedAt   *time.Time `json:"finished_at,omitempty"`
	Error        string     `json:"error,omitempty"`
	Phase        string     `json:"phase"`
	Progress     float64    `json:"progress"` // of the phase, from 0 to 1
}

// MarshalJSON writes durations in milliseconds.
func (r Run) MarshalJSON() ([]byte, error) {
	type plain Run
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	text, err := json.Marshal(struct {
		plain

		Longest float64 `json:"longest_statement_ms"`
		Worked  float64 `json:"worked_ms"`
		Paused  float64 `json:"paused_ms"`
	}{plain(r), milliseconds(r.Longest), milliseconds(r.Worked), milliseconds(r.Paused)})
	if err != nil {
		return nil, fmt.Errorf("write a run: %w", err)
	}
	return text, nil
}

func newRun(r db.AnalyticsRollupRun) Run {
	one := Run{
		ID: r.ID, Date: r.MetricDate, State: r.State, Worker: r.Worker, JobID: r.JobID, ResumedRunID: r.ResumedRunID,
		StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Phase: r.Phase, Progress: math.Round(float64(r.Progress)*1000) / 1000,
		Figures: figure.Figures{
			Events: r.Events, Entities: r.Entities,
			Rows:   figure.Rows{Inserted: r.RowsInserted, Updated: r.RowsUpdated, Deleted: r.RowsDeleted},
			Passes: int(r.Passes), Slices: int(r.Slices), Batches: int(r.Batches),
			Longest: time.Duration(float64(r.LongestStatementMs) * float64(time.Millisecond)),
			Worked:  time.Duration(r.WorkedMs) * time.Millisecond, Paused: time.Duration(r.PausedMs) * time.Millisecond,
		},
	}
	if r.Error != nil {
		one.Error = *r.Error
	}
	if r.Attempt != nil {
		one.Attempt = int(*r.Attempt)
	}
	return one
}

func newRuns(rows []db.AnalyticsRollupRun) []Run {
	all := make([]Run, len(rows))
	for i, r := range rows {
		all[i] = newRun(r)
	}
	return all
}

// DateRuns lists at most limit runs of a date, latest first: those before a run if before is not 0, those after a run if after is
// not 0, and otherwise the latest. more reports whether there are further runs in that direction.
func DateRuns(
	ctx context.Context, on postgres.DBTX, of date.Date, before, after int64, limit int,
) (list []Run, more bool, err error) {
	queries := db.New(on)
	most := int32(limit) + 1 //nolint:gosec // A page.
	var rows []db.AnalyticsRollupRun
	if after != 0 {
		rows, err = queries.LedgerDateRunsAfter(ctx, db.LedgerDateRunsAfterParams{MetricDate: of, AfterID: after, MaxRows: most})
	} else {
		if before == 0 {
			before = math.MaxInt64
		}
		rows, err = queries.LedgerDateRuns(ctx, db.LedgerDateRunsParams{MetricDate: of, BeforeID: before, MaxRows: most})
	}
	if err != nil {
		return nil, false, fmt.Errorf("list the date's runs: %w", err)
	}
	if more = len(rows) > limit; more {
		rows = rows[:limit]
	}
	if after != 0 {
		slices.Reverse(rows)
	}
	return newRuns(rows), more, nil
}

// mostJobRuns is how many runs of a job are listed.
const mostJobRuns = 50

// JobRuns lists the latest runs of a job for a date, the newest first.
func JobRuns(ctx context.Context, on postgres.DBTX, of date.Date, job int64) ([]Run, error) {
	rows, err := db.New(on).LedgerJobRuns(ctx, db.LedgerJobRunsParams{MetricDate: of, JobID: job, MaxRows: mostJobRuns})
	if err != nil {
		return nil, fmt.Errorf("read the runs of job %d: %w", job, err)
	}
	return newRuns(rows), nil
}
