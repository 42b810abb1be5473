package telemetry

import (
	"log/slog"
	"time"
)

// StreamStart says that a process has begun to read a stream.
type StreamStart struct {
	Stream   string
	Mode     string // wal or trigger
	Position int64  // of the last change in the log
}

// Name returns stream_start.
func (StreamStart) Name() string { return "stream_start" }

// Attrs returns the event's fields.
func (e StreamStart) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("stream", e.Stream), slog.String("mode", e.Mode), slog.Int64("position", e.Position)}
}

// StreamError says that a process has let go of a stream, or could not read it. It tries again.
type StreamError struct {
	Stream string
	Err    error
}

// Name returns stream_error.
func (StreamError) Name() string { return "stream_error" }

// Attrs returns the event's fields.
func (e StreamError) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("stream", e.Stream), failure(e.Err)}
}

// Gap says that changes of a stream are missing.
type Gap struct {
	Stream string
	Kind   string // of capture.gap
	After  int64  // position
	Tables int    // that it concerns; all if 0
}

// Name returns gap.
func (Gap) Name() string { return "gap" }

// Attrs returns the event's fields.
func (e Gap) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("stream", e.Stream), slog.String("kind", e.Kind), slog.Int64("after", e.After), slog.Int("tables", e.Tables)}
}

// LandStart says that changes are about to be written to the log. Land follows.
type LandStart struct {
	Stream  string
	Changes int
}

// Name returns land_start.
func (LandStart) Name() string { return "land_start" }

// Attrs returns the event's fields.
func (e LandStart) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("stream", e.Stream), slog.Int("changes", e.Changes)}
}

// Land says that changes were written to the log, in one transaction, or could not be.
type Land struct {
	Stream   string
	Changes  int
	Position int64 // of the last change in the log
	Took     time.Duration
	Err      error // nil if they were written
}

// Name returns land.
func (Land) Name() string { return "land" }

// Attrs returns the event's fields.
func (e Land) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("stream", e.Stream), slog.Int("changes", e.Changes), slog.Int64("position", e.Position),
		milliseconds("took_ms", e.Took), failure(e.Err),
	}
}

// DeliveryStart says that a batch of the log is about to be delivered. Delivery follows.
type DeliveryStart struct {
	Consumer string
	Kind     string
	Shard    int
	Changes  int   // of the log, before the filter
	After    int64 // position
}

// Name returns delivery_start.
func (DeliveryStart) Name() string { return "delivery_start" }

// Attrs returns the event's fields.
func (e DeliveryStart) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("consumer", e.Consumer), slog.String("kind", e.Kind), slog.Int("shard", e.Shard), slog.Int("changes", e.Changes),
		slog.Int64("after", e.After),
	}
}

// Failed is the outcome of a delivery whose batch comes again, because of an error.
const Failed = "failed"

// Delivery says that a batch was delivered, or that the consumer did not take it.
type Delivery struct {
	Consumer  string
	Kind      string
	Shard     int
	Outcome   string // Complete, Interrupted, Lost (to another process, or the consumer is paused) or Failed
	Delivered int    // changes that the consumer took
	Letters   int    // changes that became dead letters
	Position  int64  // of the shard
	Took      time.Duration
	Err       error // nil if the position has moved
}

// Name returns delivery.
func (Delivery) Name() string { return "delivery" }

// Attrs returns the event's fields.
func (e Delivery) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("consumer", e.Consumer), slog.String("kind", e.Kind), slog.Int("shard", e.Shard), slog.String("outcome", e.Outcome),
		slog.Int("delivered", e.Delivered), slog.Int("dead_letters", e.Letters), slog.Int64("position", e.Position), milliseconds("took_ms", e.Took), failure(e.Err),
	}
}

// ChunkStart says that a chunk of a table is about to be read for a snapshot. Chunk follows.
type ChunkStart struct {
	Stream string
	Table  string
}

// Name returns chunk_start.
func (ChunkStart) Name() string { return "chunk_start" }

// Attrs returns the event's fields.
func (e ChunkStart) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("stream", e.Stream), slog.String("table", e.Table)}
}

// Chunk says that a chunk of a snapshot was read and written to the log, or could not be.
type Chunk struct {
	Stream string
	Table  string
	Rows   int
	Last   bool // the snapshot is complete
	Took   time.Duration
	Err    error // nil if it is in the log
}

// Name returns chunk.
func (Chunk) Name() string { return "chunk" }

// Attrs returns the event's fields.
func (e Chunk) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("stream", e.Stream), slog.String("table", e.Table), slog.Int("rows", e.Rows), slog.Bool("last", e.Last),
		milliseconds("took_ms", e.Took), failure(e.Err),
	}
}
