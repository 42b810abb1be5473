package signal

import (
	"log/slog"
	"time"

	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/telemetry"
)

// PhaseStart says that a run begins a phase. PhaseStop follows.
type PhaseStart struct {
	Run

	Phase string // scan, publish or settle
	Pass  int    // from 1
}

// Name returns phase_start.
func (PhaseStart) Name() string { return "phase_start" }

// Attrs returns its fields.
func (s PhaseStart) Attrs() []slog.Attr {
	return s.attrs(slog.String("phase", s.Phase), slog.Int("pass", s.Pass))
}

// Line is for debugging.
func (PhaseStart) Line() (slog.Level, string) { return slog.LevelDebug, "phase started" }

// SpanStart begins the span of the phase.
func (s PhaseStart) SpanStart() string { return s.Phase }

// PhaseStop says that a run has ended a phase, successfully or not.
type PhaseStop struct {
	Run

	Phase    string
	Pass     int
	Duration time.Duration
	Err      error // nil if it succeeded
}

// Name returns phase_stop.
func (PhaseStop) Name() string { return "phase_stop" }

// Attrs returns its fields.
func (s PhaseStop) Attrs() []slog.Attr {
	return s.attrs(slog.String("phase", s.Phase), slog.Int("pass", s.Pass),
		telemetry.Milliseconds("duration_ms", s.Duration), telemetry.Failure(s.Err))
}

// Line is for debugging.
func (PhaseStop) Line() (slog.Level, string) { return slog.LevelDebug, "phase stopped" }

// SpanEnd ends the span of the phase.
func (s PhaseStop) SpanEnd() error { return s.Err }

// Samples has how long the phase took.
func (s PhaseStop) Samples() []telemetry.Sample {
	return []telemetry.Sample{{Metric: phaseDuration, Labels: []string{s.Phase}, Value: s.Duration.Seconds()}}
}

// Outcomes of a slice.
const (
	Read    = "read"
	Divided = "divided" // it was too dense for one statement, and will be read again in smaller parts
	Dense   = "dense"   // it cannot be divided by time, so it was read through a cursor
)

// Slice says that a span of a date's events was read, or was too dense to be read at once.
type Slice struct {
	Run

	From, To time.Time
	Outcome  string        // Read, Divided or Dense
	Counts   int           // of events by entity and type; 0 unless the outcome is Read
	Took     time.Duration // in statements
	// Early names the statement if it ran before the run had a span: that of a small date is part of the transaction that begins the run.
	Early string
}

// SpanPast returns the span of a statement that has ended.
func (s Slice) SpanPast() (name string, took time.Duration) { return s.Early, s.Took }

// Name returns slice.
func (Slice) Name() string { return "slice" }

// Attrs returns its fields.
func (s Slice) Attrs() []slog.Attr {
	return s.attrs(slog.Time("from", s.From), slog.Time("to", s.To), slog.String("outcome", s.Outcome),
		slog.Int("counts", s.Counts), telemetry.Milliseconds("took_ms", s.Took))
}

// Line is for debugging.
func (Slice) Line() (slog.Level, string) { return slog.LevelDebug, "slice" }

// Samples counts the slice, and has how long the statements took if it was read.
func (s Slice) Samples() []telemetry.Sample {
	all := []telemetry.Sample{one(slices, s.Outcome)}
	if s.Outcome == Read {
		all = append(all, telemetry.Sample{Metric: sliceDuration, Value: s.Took.Seconds()})
	}
	return all
}

// Outcomes of a batch.
const (
	Written  = "written"
	TimedOut = "timed_out" // it was rolled back, and will be written again in smaller parts
)

// Batch says that a transaction that publishes metrics has ended.
type Batch struct {
	Run
	figure.Rows

	Outcome string // Written or TimedOut
	Took    time.Duration
}

// Name returns batch.
func (Batch) Name() string { return "batch" }

// Attrs returns its fields.
func (s Batch) Attrs() []slog.Attr {
	return s.attrs(slog.String("outcome", s.Outcome), slog.Int64("rows_inserted", s.Inserted),
		slog.Int64("rows_updated", s.Updated), slog.Int64("rows_deleted", s.Deleted), telemetry.Milliseconds("took_ms", s.Took))
}

// Line is for debugging.
func (Batch) Line() (slog.Level, string) { return slog.LevelDebug, "batch" }

// Samples counts the batch and its rows.
func (s Batch) Samples() []telemetry.Sample {
	return []telemetry.Sample{
		one(batches, s.Outcome),
		{Metric: batchDuration, Value: s.Took.Seconds()},
		{Metric: rows, Labels: []string{"inserted"}, Value: float64(s.Inserted)},
		{Metric: rows, Labels: []string{"updated"}, Value: float64(s.Updated)},
		{Metric: rows, Labels: []string{"deleted"}, Value: float64(s.Deleted)},
	}
}
