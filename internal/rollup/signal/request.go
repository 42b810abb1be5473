package signal

import (
	"log/slog"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/telemetry"
)

// RequestClaim says that a run has taken open requests, which it will satisfy.
type RequestClaim struct {
	Run

	Requests int64
}

// Name returns request_claim.
func (RequestClaim) Name() string { return "request_claim" }

// Attrs returns its fields.
func (s RequestClaim) Attrs() []slog.Attr { return s.attrs(slog.Int64("requests", s.Requests)) }

// Line is for debugging.
func (RequestClaim) Line() (slog.Level, string) { return slog.LevelDebug, "requests claimed" }

// SpanEvent marks the moment in the span of the run.
func (RequestClaim) SpanEvent() {}

// Samples counts the requests.
func (s RequestClaim) Samples() []telemetry.Sample {
	return []telemetry.Sample{{Metric: requests, Labels: []string{"claimed"}, Value: float64(s.Requests)}}
}

// RequestSatisfy says that requests are satisfied: their date is complete, and includes everything that was
// committed before them.
type RequestSatisfy struct {
	Run

	Requests int64
}

// Name returns request_satisfy.
func (RequestSatisfy) Name() string { return "request_satisfy" }

// Attrs returns its fields.
func (s RequestSatisfy) Attrs() []slog.Attr { return s.attrs(slog.Int64("requests", s.Requests)) }

// Line is for debugging.
func (RequestSatisfy) Line() (slog.Level, string) { return slog.LevelDebug, "requests satisfied" }

// SpanEvent marks the moment in the span of the run.
func (RequestSatisfy) SpanEvent() {}

// Samples counts the requests.
func (s RequestSatisfy) Samples() []telemetry.Sample {
	return []telemetry.Sample{{Metric: requests, Labels: []string{"satisfied"}, Value: float64(s.Requests)}}
}

// RequestEnqueue says that a date whose request was open and due got a job.
type RequestEnqueue struct {
	Date     date.Date
	Priority int // of the job
}

// Name returns request_enqueue.
func (RequestEnqueue) Name() string { return "request_enqueue" }

// Attrs returns its fields.
func (s RequestEnqueue) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("date", s.Date.String()), slog.Int("priority", s.Priority)}
}

// Line is for debugging.
func (RequestEnqueue) Line() (slog.Level, string) { return slog.LevelDebug, "request got a job" }

// Samples counts the job.
func (RequestEnqueue) Samples() []telemetry.Sample {
	return []telemetry.Sample{one(requests, "enqueued")}
}

// RunRescue says that a date whose run gave no sign of life was handed to another worker.
type RunRescue struct {
	Date date.Date
}

// Name returns run_rescue.
func (RunRescue) Name() string { return "run_rescue" }

// Attrs returns its fields.
func (s RunRescue) Attrs() []slog.Attr { return []slog.Attr{slog.String("date", s.Date.String())} }

// Line is a warning.
func (RunRescue) Line() (slog.Level, string) {
	return slog.LevelWarn, "date of a dead worker was handed to another"
}

// Samples counts the rescue.
func (RunRescue) Samples() []telemetry.Sample { return []telemetry.Sample{one(rescues)} }
