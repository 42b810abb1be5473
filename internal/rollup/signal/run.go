package signal

import (
	"log/slog"
	"time"

	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/telemetry"
)

// RunStart says that a run has taken a date. A RunStop or a RunError follows, unless the process is killed.
type RunStart struct {
	Run

	Worker  string // the process, as the ledger names it
	Attempt int    // of the River job; 0 if there is none
	Resumed int64  // the run that this one resumes; 0 if there is none
}

// Name returns run_start.
func (RunStart) Name() string { return "run_start" }

// Attrs returns its fields.
func (s RunStart) Attrs() []slog.Attr {
	return s.attrs(slog.String("worker", s.Worker), slog.Int("attempt", s.Attempt), slog.Int64("resumed_run_id", s.Resumed))
}

// Line is for debugging.
func (RunStart) Line() (slog.Level, string) { return slog.LevelDebug, "run started" }

// SpanStart begins the span of the run.
func (RunStart) SpanStart() string { return "run" }

// Samples counts the run.
func (RunStart) Samples() []telemetry.Sample { return []telemetry.Sample{one(runsStarted)} }

// RunStop says that a run has ended and has not failed: the date is complete or protected, the run was stopped, or another
// run has taken the date.
type RunStop struct {
	Run
	figure.Figures

	Duration time.Duration // since it began, by the process's clock
	Worker   string
	Outcome  string // Complete, Interrupted, Lost or Protected
	Err      error  // why the date is protected; otherwise nil
}

// Name returns run_stop.
func (RunStop) Name() string { return "run_stop" }

// Attrs returns its fields.
func (s RunStop) Attrs() []slog.Attr {
	return s.attrs(append([]slog.Attr{slog.String("worker", s.Worker), slog.String("outcome", s.Outcome), telemetry.Failure(s.Err)},
		figures(s.Duration, s.Figures)...)...)
}

// Line is a run's only line at info.
func (RunStop) Line() (slog.Level, string) { return slog.LevelInfo, "run stopped" }

// SpanEnd ends the span of the run. A run that protects its date has not failed.
func (RunStop) SpanEnd() error { return nil }

// Samples counts the run, and the events of a date that is complete.
func (s RunStop) Samples() []telemetry.Sample {
	all := ended(s.Duration, s.Figures, s.Outcome)
	if s.Outcome == Complete {
		all = append(all, telemetry.Sample{Metric: events, Value: float64(s.Events)})
	}
	return all
}

// RunError says that a run has failed.
type RunError struct {
	Run
	figure.Figures

	Duration time.Duration // since it began, by the process's clock
	Worker   string
	Attempt  int // of the River job; 0 if there is none
	Err      error
}

// Name returns run_error.
func (RunError) Name() string { return "run_error" }

// Attrs returns its fields.
func (s RunError) Attrs() []slog.Attr {
	return s.attrs(append([]slog.Attr{
		slog.String("worker", s.Worker), slog.Int("attempt", s.Attempt), telemetry.Failure(s.Err),
	}, figures(s.Duration, s.Figures)...)...)
}

// Line is an error.
func (RunError) Line() (slog.Level, string) { return slog.LevelError, "run failed" }

// SpanEnd ends the span of the run.
func (s RunError) SpanEnd() error { return s.Err }

// Samples counts the run.
func (s RunError) Samples() []telemetry.Sample { return ended(s.Duration, s.Figures, failed) }

func figures(took time.Duration, f figure.Figures) []slog.Attr {
	return []slog.Attr{
		telemetry.Milliseconds("duration_ms", took), slog.Int64("events", f.Events), slog.Int64("entities", f.Entities),
		slog.Int64("rows_inserted", f.Inserted), slog.Int64("rows_updated", f.Updated), slog.Int64("rows_deleted", f.Deleted),
		slog.Int("passes", f.Passes), slog.Int("slices", f.Slices), slog.Int("fetches", f.Fetches),
		slog.Int("batches", f.Batches), telemetry.Milliseconds("longest_statement_ms", f.Longest),
		telemetry.Milliseconds("worked_ms", f.Worked), telemetry.Milliseconds("paused_ms", f.Paused),
	}
}

func ended(took time.Duration, f figure.Figures, outcome string) []telemetry.Sample {
	return []telemetry.Sample{
		one(runs, outcome),
		{Metric: runDuration, Labels: []string{outcome}, Value: took.Seconds()},
		{Metric: runLongest, Value: f.Longest.Seconds()},
		{Metric: worked, Value: max(0, f.Worked).Seconds()},
		{Metric: paused, Value: max(0, f.Paused).Seconds()},
	}
}
