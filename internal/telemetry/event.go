package telemetry

import (
	"log/slog"
	"time"

	"github.com/daymill/daymill/internal/date"
)

// Run names the run that an event belongs to.
type Run struct {
	ID   int64
	Date date.Date
}

func (r Run) attrs(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.Int64("run_id", r.ID), slog.String("date", r.Date.String())}, more...)
}

// milliseconds returns a duration in milliseconds with a fraction, as the ledger has it.
func milliseconds(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}

func failure(err error) slog.Attr {
	if err == nil {
		return slog.String("error", "")
	}
	return slog.String("error", err.Error())
}

// RunStart says that a date was handed to a run. One RunStop or RunError follows, unless the process is killed.
type RunStart struct {
	Run

	Worker  string // the process, as the ledger names it
	Attempt int    // of the River job; 0 where there is none
	Resumed int64  // the run that this run resumed; 0 if there is none
}

// Name returns run_start.
func (RunStart) Name() string { return "run_start" }

// Attrs returns the event's fields.
func (e RunStart) Attrs() []slog.Attr {
	return e.attrs(slog.String("worker", e.Worker), slog.Int("attempt", e.Attempt), slog.Int64("resumed_run_id", e.Resumed))
}

// Figures are the results of a run.
type Figures struct {
	Duration                   time.Duration // from its beginning, by the process's clock
	Events, Entities           int64         // published, including those of the run that this run resumed
	Inserted, Updated, Deleted int64         // rows
	Passes, Slices, Batches    int
	Fetches                    int // statements that read dense slices
	Longest                    time.Duration
	Worked, Paused             time.Duration // in statements, and between them
}

func (f Figures) attrs() []slog.Attr {
	return []slog.Attr{
		milliseconds("duration_ms", f.Duration), slog.Int64("events", f.Events), slog.Int64("entities", f.Entities),
		slog.Int64("rows_inserted", f.Inserted), slog.Int64("rows_updated", f.Updated), slog.Int64("rows_deleted", f.Deleted),
		slog.Int("passes", f.Passes), slog.Int("slices", f.Slices), slog.Int("fetches", f.Fetches),
		slog.Int("batches", f.Batches), milliseconds("longest_statement_ms", f.Longest),
		milliseconds("worked_ms", f.Worked), milliseconds("paused_ms", f.Paused),
	}
}

// Outcomes of a run that ended without an error of its own.
const (
	Complete    = "complete"
	Interrupted = "interrupted" // it was stopped
	Lost        = "lost"        // another run of the date has begun
)

// RunStop says that a run has ended: the date is complete, or the run gave it back, or another run has it.
type RunStop struct {
	Run
	Figures

	Worker  string
	Outcome string // Complete, Interrupted or Lost
}

// Name returns run_stop.
func (RunStop) Name() string { return "run_stop" }

// Attrs returns the event's fields.
func (e RunStop) Attrs() []slog.Attr {
	return e.Run.attrs(append([]slog.Attr{slog.String("worker", e.Worker), slog.String("outcome", e.Outcome)}, e.Figures.attrs()...)...)
}

// RunError says that a run has failed.
type RunError struct {
	Run
	Figures

	Worker  string
	Attempt int // of the River job; 0 where there is none
	Err     error
}

// Name returns run_error.
func (RunError) Name() string { return "run_error" }

// Attrs returns the event's fields.
func (e RunError) Attrs() []slog.Attr {
	return e.Run.attrs(append([]slog.Attr{
		slog.String("worker", e.Worker), slog.Int("attempt", e.Attempt), failure(e.Err),
	}, e.Figures.attrs()...)...)
}

// PhaseStart says that a run begins a phase. PhaseStop follows.
type PhaseStart struct {
	Run

	Phase string // scan, publish or settle
	Pass  int    // from 1
}

// Name returns phase_start.
func (PhaseStart) Name() string { return "phase_start" }

// Attrs returns the event's fields.
func (e PhaseStart) Attrs() []slog.Attr {
	return e.attrs(slog.String("phase", e.Phase), slog.Int("pass", e.Pass))
}

// PhaseStop says that a phase has ended, with or without an error.
type PhaseStop struct {
	Run

	Phase    string
	Pass     int
	Duration time.Duration
	Err      error // nil if there was none
}

// Name returns phase_stop.
func (PhaseStop) Name() string { return "phase_stop" }

// Attrs returns the event's fields.
func (e PhaseStop) Attrs() []slog.Attr {
	return e.attrs(slog.String("phase", e.Phase), slog.Int("pass", e.Pass), milliseconds("duration_ms", e.Duration), failure(e.Err))
}

// Outcomes of a slice.
const (
	Read    = "read"
	Divided = "divided" // it was too dense for one statement, and will be read again in smaller parts
	Dense   = "dense"   // it could not be divided by time, and was read through a cursor
)

// Slice says that a span of a date's events was read, or was too dense to be.
type Slice struct {
	Run

	From, To time.Time
	Outcome  string        // Read, Divided or Dense
	Counts   int           // of entities and event types; 0 unless Outcome is Read
	Took     time.Duration // in statements
}

// Name returns slice.
func (Slice) Name() string { return "slice" }

// Attrs returns the event's fields.
func (e Slice) Attrs() []slog.Attr {
	return e.attrs(slog.Time("from", e.From), slog.Time("to", e.To), slog.String("outcome", e.Outcome),
		slog.Int("counts", e.Counts), milliseconds("took_ms", e.Took))
}

// Batch says that a publishing transaction has ended.
type Batch struct {
	Run

	Outcome                    string // Written or TimedOut
	Inserted, Updated, Deleted int64  // rows
	Took                       time.Duration
}

// Outcomes of a batch.
const (
	Written  = "written"
	TimedOut = "timed_out" // it was rolled back, and will be written again in smaller parts
)

// Name returns batch.
func (Batch) Name() string { return "batch" }

// Attrs returns the event's fields.
func (e Batch) Attrs() []slog.Attr {
	return e.attrs(slog.String("outcome", e.Outcome), slog.Int64("rows_inserted", e.Inserted),
		slog.Int64("rows_updated", e.Updated), slog.Int64("rows_deleted", e.Deleted), milliseconds("took_ms", e.Took))
}
