// Package signal has the signals that capture sends (see package telemetry), and the metrics that they change.
package signal

import (
	"log/slog"
	"time"

	"github.com/daymill/daymill/internal/telemetry"
)

// All returns one signal of each type, in the order of the documentation.
func All() []telemetry.Signal {
	return []telemetry.Signal{
		StreamStart{},
		StreamError{},
		Gap{},
		LandStart{},
		Land{},
		DeliveryStart{},
		Delivery{},
		ChunkStart{},
		Chunk{},
	}
}

// StreamStart says that a process has begun to read a stream.
type StreamStart struct {
	Stream   string
	Mode     string // wal or trigger
	Position int64  // of the last change in the log
}

// Name returns stream_start.
func (StreamStart) Name() string { return "stream_start" }

// Attrs returns its fields.
func (s StreamStart) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("stream", s.Stream), slog.String("mode", s.Mode), slog.Int64("position", s.Position)}
}

// Line is a line at info.
func (StreamStart) Line() (slog.Level, string) { return slog.LevelInfo, "stream started" }

// Samples creates the stream's series, at 0.
func (s StreamStart) Samples() (all []telemetry.Sample) {
	for _, metric := range []string{landed, streamErrors, gaps, snapshotRows, snapshots} {
		all = append(all, telemetry.Sample{Metric: metric, Labels: []string{s.Stream}, First: true})
	}
	return all
}

// StreamError says that a process has stopped reading a stream because of an error. It tries again.
type StreamError struct {
	Stream string
	Err    error
}

// Name returns stream_error.
func (StreamError) Name() string { return "stream_error" }

// Attrs returns its fields.
func (s StreamError) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("stream", s.Stream), telemetry.Failure(s.Err)}
}

// Line is a warning.
func (StreamError) Line() (slog.Level, string) { return slog.LevelWarn, "a stream cannot be read" }

// Samples counts the error.
func (s StreamError) Samples() []telemetry.Sample {
	return []telemetry.Sample{{Metric: streamErrors, Labels: []string{s.Stream}, Value: 1}}
}

// Gap says that changes of a stream are missing.
type Gap struct {
	Stream string
	Kind   string // of capture.gap
	After  int64  // position
	Tables int    // affected; all if 0
}

// Name returns gap.
func (Gap) Name() string { return "gap" }

// Attrs returns its fields.
func (s Gap) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("stream", s.Stream), slog.String("kind", s.Kind), slog.Int64("after", s.After), slog.Int("tables", s.Tables)}
}

// Line is an error.
func (Gap) Line() (slog.Level, string) { return slog.LevelError, "changes of a stream are missing" }

// Samples counts the gap.
func (s Gap) Samples() []telemetry.Sample {
	return []telemetry.Sample{{Metric: gaps, Labels: []string{s.Stream}, Value: 1}}
}

// LandStart says that changes are about to be written to the log. Land follows.
type LandStart struct {
	Stream  string
	Changes int
}

// Name returns land_start.
func (LandStart) Name() string { return "land_start" }

// Attrs returns its fields.
func (s LandStart) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("stream", s.Stream), slog.Int("changes", s.Changes)}
}

// Line is for debugging.
func (LandStart) Line() (slog.Level, string) { return slog.LevelDebug, "landing started" }

// SpanStart begins a span.
func (LandStart) SpanStart() string { return "land" }

// Land says that changes were written to the log in one transaction, or that this failed.
type Land struct {
	Stream   string
	Changes  int
	Position int64 // of the last change in the log
	Took     time.Duration
	Err      error // nil if they were written
}

// Name returns land.
func (Land) Name() string { return "land" }

// Attrs returns its fields.
func (s Land) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("stream", s.Stream), slog.Int("changes", s.Changes), slog.Int64("position", s.Position),
		telemetry.Milliseconds("took_ms", s.Took), telemetry.Failure(s.Err),
	}
}

// Line is for debugging.
func (Land) Line() (slog.Level, string) { return slog.LevelDebug, "landing stopped" }

// SpanEnd ends the span.
func (s Land) SpanEnd() error { return s.Err }

// Samples counts the changes if they were written.
func (s Land) Samples() []telemetry.Sample {
	if s.Err != nil {
		return nil
	}
	return []telemetry.Sample{
		{Metric: landed, Labels: []string{s.Stream}, Value: float64(s.Changes)},
		{Metric: landingDuration, Value: s.Took.Seconds()},
	}
}

// DeliveryStart says that a batch of changes is about to be delivered. Delivery follows.
type DeliveryStart struct {
	Consumer string
	Kind     string
	Shard    int
	Changes  int   // of the log, before the filter
	After    int64 // position
}

// Name returns delivery_start.
func (DeliveryStart) Name() string { return "delivery_start" }

// Attrs returns its fields.
func (s DeliveryStart) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("consumer", s.Consumer), slog.String("kind", s.Kind), slog.Int("shard", s.Shard), slog.Int("changes", s.Changes),
		slog.Int64("after", s.After),
	}
}

// Line is for debugging.
func (DeliveryStart) Line() (slog.Level, string) { return slog.LevelDebug, "delivery started" }

// SpanStart begins a span.
func (DeliveryStart) SpanStart() string { return "deliver" }

// Samples creates the consumer's series, at 0.
func (s DeliveryStart) Samples() (all []telemetry.Sample) {
	for _, outcome := range []string{Complete, Failed, Interrupted, Lost} {
		all = append(all, telemetry.Sample{Metric: batches, Labels: []string{s.Consumer, outcome}, First: true})
	}
	for _, metric := range []string{batchDuration, delivered, letters} {
		all = append(all, telemetry.Sample{Metric: metric, Labels: []string{s.Consumer}, First: true})
	}
	return all
}

// Outcomes of a delivery.
const (
	Complete    = "complete"
	Failed      = "failed"      // the consumer did not accept the batch, which is delivered again
	Interrupted = "interrupted" // the worker was stopped
	Lost        = "lost"        // another process has the shard, or the consumer is paused
)

// Delivery says that a batch was delivered, or that the consumer did not accept it.
type Delivery struct {
	Consumer  string
	Kind      string
	Shard     int
	Outcome   string // Complete, Failed, Interrupted or Lost
	Delivered int    // changes that the consumer accepted
	Letters   int    // changes that became dead letters
	Position  int64  // of the shard
	Took      time.Duration
	Err       error // nil if the position moved
}

// Name returns delivery.
func (Delivery) Name() string { return "delivery" }

// Attrs returns its fields.
func (s Delivery) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("consumer", s.Consumer), slog.String("kind", s.Kind), slog.Int("shard", s.Shard), slog.String("outcome", s.Outcome),
		slog.Int("delivered", s.Delivered), slog.Int("dead_letters", s.Letters), slog.Int64("position", s.Position), telemetry.Milliseconds("took_ms", s.Took), telemetry.Failure(s.Err),
	}
}

// Line is a warning if the consumer did not take all changes.
func (s Delivery) Line() (slog.Level, string) {
	switch {
	case s.Outcome == Failed:
		return slog.LevelWarn, "a consumer does not accept changes"
	case s.Letters > 0:
		return slog.LevelWarn, "changes became dead letters"
	default:
		return slog.LevelDebug, "changes delivered"
	}
}

// SpanEnd ends the span.
func (s Delivery) SpanEnd() error { return s.Err }

// Samples counts the batch and its changes.
func (s Delivery) Samples() []telemetry.Sample {
	all := []telemetry.Sample{
		{Metric: batches, Labels: []string{s.Consumer, s.Outcome}, Value: 1},
		{Metric: delivered, Labels: []string{s.Consumer}, Value: float64(s.Delivered)},
		{Metric: letters, Labels: []string{s.Consumer}, Value: float64(s.Letters)},
	}
	if s.Outcome == Complete {
		all = append(all, telemetry.Sample{Metric: batchDuration, Labels: []string{s.Consumer}, Value: s.Took.Seconds()})
	}
	return all
}

// ChunkStart says that a chunk of a table is about to be read for a snapshot. Chunk follows.
type ChunkStart struct {
	Stream string
	Table  string
}

// Name returns chunk_start.
func (ChunkStart) Name() string { return "chunk_start" }

// Attrs returns its fields.
func (s ChunkStart) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("stream", s.Stream), slog.String("table", s.Table)}
}

// Line is for debugging.
func (ChunkStart) Line() (slog.Level, string) { return slog.LevelDebug, "chunk started" }

// SpanStart begins a span.
func (ChunkStart) SpanStart() string { return "snapshot" }

// Chunk says that a chunk of a snapshot was read and written to the log, or that this failed.
type Chunk struct {
	Stream string
	Table  string
	Rows   int
	Total  int64 // rows of the snapshot so far
	Last   bool  // whether the snapshot is complete
	Took   time.Duration
	Err    error // nil if it is in the log
}

// Name returns chunk.
func (Chunk) Name() string { return "chunk" }

// Attrs returns its fields.
func (s Chunk) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("stream", s.Stream), slog.String("table", s.Table), slog.Int("rows", s.Rows), slog.Int64("total_rows", s.Total), slog.Bool("last", s.Last),
		telemetry.Milliseconds("took_ms", s.Took), telemetry.Failure(s.Err),
	}
}

// Line is a line at info if the snapshot is complete.
func (s Chunk) Line() (slog.Level, string) {
	if s.Last && s.Err == nil {
		return slog.LevelInfo, "snapshot complete"
	}
	return slog.LevelDebug, "chunk stopped"
}

// SpanEnd ends the span.
func (s Chunk) SpanEnd() error { return s.Err }

// Samples counts the rows, and the snapshot if it is complete.
func (s Chunk) Samples() []telemetry.Sample {
	all := []telemetry.Sample{{Metric: snapshotRows, Labels: []string{s.Stream}, Value: float64(s.Rows)}}
	if s.Err == nil {
		all = append(all, telemetry.Sample{Metric: chunkDuration, Value: s.Took.Seconds()})
	}
	if s.Last {
		all = append(all, telemetry.Sample{Metric: snapshots, Labels: []string{s.Stream}, Value: 1})
	}
	return all
}
