// Package signal has the signals that the archive sends (see package telemetry), and the metrics that they change.
package signal

import (
	"log/slog"
	"time"

	"github.com/daymill/daymill/internal/telemetry"
)

// All returns one signal of each type, in the order of the documentation.
func All() []telemetry.Signal {
	return []telemetry.Signal{Start{}, Wait{}, Error{}, Seal{}, Gap{}, Base{}, Proof{}}
}

// Start says that a process has begun to archive a database.
type Start struct{ Database string }

// Name returns archive_start.
func (Start) Name() string { return "archive_start" }

// Attrs returns its fields.
func (s Start) Attrs() []slog.Attr { return []slog.Attr{slog.String("database", s.Database)} }

// Line is information.
func (Start) Line() (slog.Level, string) { return slog.LevelInfo, "archiving started" }

// Wait says that another process archives the database. This one takes over when that ends.
type Wait struct{ Database string }

// Name returns archive_wait.
func (Wait) Name() string { return "archive_wait" }

// Attrs returns its fields.
func (s Wait) Attrs() []slog.Attr { return []slog.Attr{slog.String("database", s.Database)} }

// Line is information.
func (Wait) Line() (slog.Level, string) {
	return slog.LevelInfo, "another process archives this database: this one waits, and takes over when that ends"
}

// Error says that archiving failed. The process tries again.
type Error struct{ Err error }

// Name returns archive_error.
func (Error) Name() string { return "archive_error" }

// Attrs returns its fields.
func (s Error) Attrs() []slog.Attr { return []slog.Attr{telemetry.Failure(s.Err)} }

// Line is a warning.
func (Error) Line() (slog.Level, string) { return slog.LevelWarn, "archiving failed" }

// Samples counts the error.
func (Error) Samples() []telemetry.Sample { return []telemetry.Sample{{Metric: failures, Value: 1}} }

// Seal says that a segment of the archive is complete.
type Seal struct {
	Position     string // where the archive ends now
	Transactions int
	Bytes        int64
	Text         int64 // bytes before compression
	LastCommit   time.Time
}

// Name returns archive_seal.
func (Seal) Name() string { return "archive_seal" }

// Attrs returns its fields.
func (s Seal) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("position", s.Position), slog.Int("transactions", s.Transactions), slog.Int64("bytes", s.Bytes), slog.Int64("text_bytes", s.Text),
		slog.Time("last_commit", s.LastCommit),
	}
}

// Line is for debugging.
func (Seal) Line() (slog.Level, string) { return slog.LevelDebug, "segment sealed" }

// Samples counts the transactions and bytes of the segment.
func (s Seal) Samples() []telemetry.Sample {
	return []telemetry.Sample{{Metric: transactions, Value: float64(s.Transactions)}, {Metric: segmentBytes, Value: float64(s.Bytes)}}
}

// Gap says that the archive cannot be restored from a position to its next base.
type Gap struct {
	From   string
	Kind   string // slot or schema
	Reason string
}

// Name returns archive_gap.
func (Gap) Name() string { return "archive_gap" }

// Attrs returns its fields.
func (s Gap) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("from", s.From), slog.String("kind", s.Kind), slog.String("error", s.Reason)}
}

// Line is an error.
func (Gap) Line() (slog.Level, string) { return slog.LevelError, "the archive has a gap" }

// Samples counts the gap.
func (Gap) Samples() []telemetry.Sample { return []telemetry.Sample{{Metric: gaps, Value: 1}} }

// Base says that a base was made, or that this failed.
type Base struct {
	Position string
	Reason   string
	Bytes    int64
	Took     time.Duration
	Err      error // nil if it is complete
}

// Name returns archive_base.
func (Base) Name() string { return "archive_base" }

// Attrs returns its fields.
func (s Base) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("position", s.Position), slog.String("reason", s.Reason), slog.Int64("bytes", s.Bytes),
		telemetry.Milliseconds("took_ms", s.Took), telemetry.Failure(s.Err),
	}
}

// Line is information, or an error if there is no base.
func (s Base) Line() (slog.Level, string) {
	if s.Err != nil {
		return slog.LevelError, "a base of the archive could not be made"
	}
	return slog.LevelInfo, "the archive has a new base"
}

// Samples counts the base.
func (s Base) Samples() []telemetry.Sample { return []telemetry.Sample{counted(bases, s.Err == nil)} }

// Proof says that the archive was restored and compared with its source.
type Proof struct {
	Position string
	Tables   int
	Rows     int64
	Failure  string // empty if everything was equal
	Took     time.Duration
}

// Name returns archive_proof.
func (Proof) Name() string { return "archive_proof" }

// Attrs returns its fields.
func (s Proof) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("position", s.Position), slog.Int("tables", s.Tables), slog.Int64("rows", s.Rows), telemetry.Milliseconds("took_ms", s.Took),
		slog.String("error", s.Failure),
	}
}

// Line is information, or an error if something differs.
func (s Proof) Line() (slog.Level, string) {
	if s.Failure != "" {
		return slog.LevelError, "the archive differs from its source"
	}
	return slog.LevelInfo, "the archive was restored, and is equal to its source"
}

// Samples counts the proof.
func (s Proof) Samples() []telemetry.Sample {
	return []telemetry.Sample{counted(proofs, s.Failure == "")}
}

func counted(metric string, good bool) telemetry.Sample {
	outcome := complete
	if !good {
		outcome = failed
	}
	return telemetry.Sample{Metric: metric, Labels: []string{outcome}, Value: 1}
}
