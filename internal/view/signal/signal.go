// Package signal has the signals that views send (see package telemetry), and the metrics that they change.
package signal

import (
	"log/slog"
	"time"

	"github.com/daymill/daymill/internal/telemetry"
)

// All returns one signal of each type, in the order of the documentation.
func All() []telemetry.Signal {
	return []telemetry.Signal{TaskStart{}, TaskStop{}, RefreshStart{}, Refresh{}, Drift{}, Swap{}}
}

// Outcomes of a turn of a view's task.
const (
	Complete   = "complete"
	Unfinished = "unfinished" // there is more to do
	Waits      = "waits"      // it cannot begin or end yet; Err says what it waits for
	Failed     = "failed"
)

// Task names the task that a signal belongs to.
type Task struct {
	View string // its name
	ID   int64
	Kind string // build, refresh, verify, poll or compare
}

func (t Task) attrs(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.String("view", t.View), slog.Int64("task_id", t.ID), slog.String("kind", t.Kind)}, more...)
}

// TaskStart says that a worker begins a turn of a task. TaskStop follows, unless the process is killed.
type TaskStart struct{ Task }

// Name returns view_task_start.
func (TaskStart) Name() string { return "view_task_start" }

// Attrs returns its fields.
func (s TaskStart) Attrs() []slog.Attr { return s.attrs() }

// Line is for debugging.
func (TaskStart) Line() (slog.Level, string) { return slog.LevelDebug, "view_task_start" }

// SpanStart begins a span.
func (TaskStart) SpanStart() string { return "view_task" }

// TaskStop says that a turn of a task has ended. The figures are about this turn.
type TaskStop struct {
	Task

	Outcome   string        // Complete, Unfinished, Waits or Failed
	Duration  time.Duration // including pauses
	Keys      int64         // root keys that were handled, or rows that differed from their mirror
	Chunks    int
	Longest   time.Duration // the longest chunk
	Differing int64         // root keys that a verification found different
	Repaired  int64
	Err       error // nil if it succeeded
}

// Name returns view_task_stop.
func (TaskStop) Name() string { return "view_task_stop" }

// Attrs returns its fields.
func (s TaskStop) Attrs() []slog.Attr {
	return s.attrs(slog.String("outcome", s.Outcome), telemetry.Milliseconds("duration_ms", s.Duration), slog.Int64("keys", s.Keys), slog.Int("chunks", s.Chunks),
		telemetry.Milliseconds("longest_chunk_ms", s.Longest), slog.Int64("differing_keys", s.Differing), slog.Int64("repaired_keys", s.Repaired), telemetry.Failure(s.Err))
}

// SpanEnd ends the span. A task that waits has not failed.
func (s TaskStop) SpanEnd() error {
	if s.Outcome == Waits {
		return nil
	}
	return s.Err
}

// Samples counts the turn and its keys.
func (s TaskStop) Samples() []telemetry.Sample {
	all := []telemetry.Sample{
		{Metric: turns, Labels: []string{s.Kind, s.Outcome}, Value: 1},
		{Metric: taskKeys, Labels: []string{s.Kind}, Value: float64(s.Keys)},
		{Metric: differing, Value: float64(s.Differing)},
		{Metric: repaired, Value: float64(s.Repaired)},
	}
	if s.Chunks > 0 {
		all = append(all, telemetry.Sample{Metric: longestChunk, Value: s.Longest.Seconds()})
	}
	return all
}

// Line is an error if the task failed, a warning if the view still differs, and otherwise at debug if there
// may be many such turns.
func (s TaskStop) Line() (slog.Level, string) {
	switch {
	case s.Outcome == Waits:
		return slog.LevelInfo, "task of a view waits"
	case s.Err != nil:
		return slog.LevelError, "task of a view failed"
	case s.Differing > s.Repaired:
		return slog.LevelWarn, "a view differs from its SELECT"
	case s.Outcome == Unfinished || s.Kind == "poll":
		return slog.LevelDebug, "turn of a view's task ended"
	default:
		return slog.LevelInfo, "task of a view done"
	}
}

// RefreshStart says that captured changes are about to be applied to a view. Refresh follows.
type RefreshStart struct {
	View    string
	Changes int
}

// Name returns view_refresh_start.
func (RefreshStart) Name() string { return "view_refresh_start" }

// Attrs returns its fields.
func (s RefreshStart) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("view", s.View), slog.Int("changes", s.Changes)}
}

// Line is for debugging.
func (RefreshStart) Line() (slog.Level, string) { return slog.LevelDebug, "view_refresh_start" }

// SpanStart begins a span.
func (RefreshStart) SpanStart() string { return "view_refresh" }

// Refresh says that captured changes were applied to a view, in a transaction that is about to commit.
type Refresh struct {
	View    string
	Changes int
	Keys    int64         // root keys that were refreshed
	Took    time.Duration // in the transaction
	Lag     time.Duration // since the oldest of the changes was committed; 0 if that is not known
	Err     error         // nil if it succeeded
}

// Name returns view_refresh.
func (Refresh) Name() string { return "view_refresh" }

// Attrs returns its fields.
func (s Refresh) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("view", s.View), slog.Int("changes", s.Changes), slog.Int64("keys", s.Keys), telemetry.Milliseconds("took_ms", s.Took),
		telemetry.Milliseconds("lag_ms", s.Lag), telemetry.Failure(s.Err),
	}
}

// Line is a warning if the changes could not be applied.
func (s Refresh) Line() (slog.Level, string) {
	if s.Err != nil {
		return slog.LevelWarn, "changes could not be applied to a view"
	}
	return slog.LevelDebug, "view refreshed"
}

// SpanEnd ends the span.
func (s Refresh) SpanEnd() error { return s.Err }

// Samples counts the changes, or the failure.
func (s Refresh) Samples() []telemetry.Sample {
	if s.Err != nil {
		return []telemetry.Sample{{Metric: failures, Value: 1}}
	}
	all := []telemetry.Sample{
		{Metric: changes, Value: float64(s.Changes)},
		{Metric: refreshedKeys, Value: float64(s.Keys)},
		{Metric: refreshDuration, Value: s.Took.Seconds()},
	}
	if s.Lag > 0 {
		all = append(all, telemetry.Sample{Metric: lag, Value: s.Lag.Seconds()})
	}
	return all
}

// Drift says that a table of a view has changed. The log line has only the kind of the change, because names of columns belong to the
// application.
type Drift struct {
	View, Kind string
	State      string // open or followed
}

// Name returns view_drift.
func (Drift) Name() string { return "view_drift" }

// Attrs returns its fields.
func (s Drift) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("view", s.View), slog.String("kind", s.Kind), slog.String("state", s.State)}
}

// Line is a warning if somebody has to decide.
func (s Drift) Line() (slog.Level, string) {
	if s.State == "open" {
		return slog.LevelWarn, "the columns of a view's table have changed, and a person has to decide"
	}
	return slog.LevelInfo, "the columns of a view's table have changed"
}

// Samples counts the change.
func (s Drift) Samples() []telemetry.Sample {
	return []telemetry.Sample{{Metric: drift, Labels: []string{s.State}, Value: 1}}
}

// Swap says that a newly built table now serves as a view.
type Swap struct{ View string }

// Name returns view_swap.
func (Swap) Name() string { return "view_swap" }

// Attrs returns its fields.
func (s Swap) Attrs() []slog.Attr { return []slog.Attr{slog.String("view", s.View)} }

// Line is a line at info.
func (Swap) Line() (slog.Level, string) { return slog.LevelInfo, "view served from a new table" }

// Samples counts the table.
func (Swap) Samples() []telemetry.Sample { return []telemetry.Sample{{Metric: swaps, Value: 1}} }
