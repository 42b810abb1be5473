package telemetry

import (
	"log/slog"
	"time"
)

// Unfinished is the outcome of a turn of a view's task after which there is more to do. The others are Complete and Failed.
const Unfinished = "unfinished"

// ViewTask names the task that an event belongs to.
type ViewTask struct {
	View string // its name
	ID   int64
	Kind string // build, refresh, verify, poll or compare
}

func (t ViewTask) attrs(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.String("view", t.View), slog.Int64("task_id", t.ID), slog.String("kind", t.Kind)}, more...)
}

// ViewTaskStart says that a worker begins a turn of a task. ViewTaskStop follows, unless the process is killed.
type ViewTaskStart struct{ ViewTask }

// Name returns view_task_start.
func (ViewTaskStart) Name() string { return "view_task_start" }

// Attrs returns the event's fields.
func (e ViewTaskStart) Attrs() []slog.Attr { return e.attrs() }

// ViewTaskStop says that a turn of a task has ended. Figures are those of the turn.
type ViewTaskStop struct {
	ViewTask

	Outcome   string        // Complete, Unfinished or Failed
	Duration  time.Duration // pauses included
	Keys      int64         // root keys that were worked on, or rows that differed from their mirror
	Chunks    int
	Longest   time.Duration // the longest chunk
	Differing int64         // root keys that a verification found different
	Repaired  int64
	Err       error // nil where it ended well
}

// Name returns view_task_stop.
func (ViewTaskStop) Name() string { return "view_task_stop" }

// Attrs returns the event's fields.
func (e ViewTaskStop) Attrs() []slog.Attr {
	return e.attrs(slog.String("outcome", e.Outcome), milliseconds("duration_ms", e.Duration), slog.Int64("keys", e.Keys), slog.Int("chunks", e.Chunks),
		milliseconds("longest_chunk_ms", e.Longest), slog.Int64("differing_keys", e.Differing), slog.Int64("repaired_keys", e.Repaired), failure(e.Err))
}

// line is how severe the event is, and what it says. Polls are many.
func (e ViewTaskStop) line() (slog.Level, string) {
	switch {
	case e.Err != nil:
		return slog.LevelError, "task of a view failed"
	case e.Differing > e.Repaired:
		return slog.LevelWarn, "a view is not its SELECT"
	case e.Outcome == Unfinished || e.Kind == "poll":
		return slog.LevelDebug, "task of a view worked on"
	default:
		return slog.LevelInfo, "task of a view done"
	}
}

// ViewRefreshStart says that captured changes are about to be applied to a view. ViewRefresh follows.
type ViewRefreshStart struct {
	View    string
	Changes int
}

// Name returns view_refresh_start.
func (ViewRefreshStart) Name() string { return "view_refresh_start" }

// Attrs returns the event's fields.
func (e ViewRefreshStart) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("view", e.View), slog.Int("changes", e.Changes)}
}

// ViewRefresh says that captured changes were applied to a view, in a transaction that commits now.
type ViewRefresh struct {
	View    string
	Changes int
	Keys    int64         // root keys that were refreshed
	Took    time.Duration // in the transaction
	Lag     time.Duration // since the oldest of the changes was committed; 0 where that is not known
	Err     error         // nil where it ended well
}

// Name returns view_refresh.
func (ViewRefresh) Name() string { return "view_refresh" }

// Attrs returns the event's fields.
func (e ViewRefresh) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("view", e.View), slog.Int("changes", e.Changes), slog.Int64("keys", e.Keys), milliseconds("took_ms", e.Took),
		milliseconds("lag_ms", e.Lag), failure(e.Err),
	}
}

// ViewDrift says that a table of a view's has changed. What has changed is in the log's line only as its kind: names of columns
// are the application's.
type ViewDrift struct {
	View, Kind string
	State      string // open or followed
}

// Name returns view_drift.
func (ViewDrift) Name() string { return "view_drift" }

// Attrs returns the event's fields.
func (e ViewDrift) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("view", e.View), slog.String("kind", e.Kind), slog.String("state", e.State)}
}

// ViewSwap says that a table that was built is served.
type ViewSwap struct{ View string }

// Name returns view_swap.
func (ViewSwap) Name() string { return "view_swap" }

// Attrs returns the event's fields.
func (e ViewSwap) Attrs() []slog.Attr { return []slog.Attr{slog.String("view", e.View)} }
