package signal

import (
	"log/slog"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/telemetry"
)

// Drifted is the result of a verification that found metrics that do not match the date's events. The other
// results are those of package verification.
const Drifted = "drifted"

// VerifyStart says that a verification of a date begins. Verify follows, unless the process is killed.
type VerifyStart struct {
	Date date.Date
}

// Name returns verify_start.
func (VerifyStart) Name() string { return "verify_start" }

// Attrs returns its fields.
func (s VerifyStart) Attrs() []slog.Attr { return []slog.Attr{slog.String("date", s.Date.String())} }

// Line is for debugging.
func (VerifyStart) Line() (slog.Level, string) { return slog.LevelDebug, "verification started" }

// SpanStart begins the span of the verification.
func (VerifyStart) SpanStart() string { return "verify" }

// Verify says that a verification of a date has ended: its events were counted again and compared with its metrics.
type Verify struct {
	Date                        date.Date
	Result                      string // one of package verification's, or Interrupted; empty if it failed
	Entities                    int64  // that have events or a row
	Drifted                     int64  // whose row differs from what was counted
	EventsCounted, EventsStored int64
	Repair                      bool // whether a rollup was requested
	Duration                    time.Duration
	Err                         error // nil if it finished
}

// Name returns verify.
func (Verify) Name() string { return "verify" }

// Attrs returns its fields.
func (s Verify) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("date", s.Date.String()), slog.String("result", s.Result), slog.Int64("entities", s.Entities),
		slog.Int64("drifted_entities", s.Drifted), slog.Int64("events_counted", s.EventsCounted),
		slog.Int64("events_stored", s.EventsStored), slog.Bool("repair_requested", s.Repair),
		telemetry.Milliseconds("duration_ms", s.Duration), telemetry.Failure(s.Err),
	}
}

// Line is as severe as the result.
func (s Verify) Line() (slog.Level, string) {
	switch {
	case s.Err != nil:
		return slog.LevelError, "verification failed"
	case s.Result == Drifted:
		return slog.LevelWarn, "a date's metrics do not match its events"
	case s.Result == Interrupted:
		return slog.LevelInfo, "verification interrupted"
	default:
		return slog.LevelInfo, "date verified"
	}
}

// SpanEnd ends the span of the verification.
func (s Verify) SpanEnd() error { return s.Err }

// Samples counts the date and, if it was judged, its entities and those that drifted.
func (s Verify) Samples() []telemetry.Sample {
	result := s.Result
	if s.Err != nil {
		result = failed
	}
	all := []telemetry.Sample{
		one(verified, result),
		{Metric: verifiedEntities, Value: float64(s.Entities)},
		{Metric: verifyDuration, Value: s.Duration.Seconds()},
	}
	if result == Drifted {
		all = append(all, telemetry.Sample{Metric: driftedEntities, Value: float64(s.Drifted)})
	}
	return all
}
