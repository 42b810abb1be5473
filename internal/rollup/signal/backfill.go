package signal

import (
	"log/slog"

	"github.com/daymill/daymill/internal/telemetry"
)

// BackfillStart says that a backfill has requested its first dates.
type BackfillStart struct {
	ID int64
}

// Name returns backfill_start.
func (BackfillStart) Name() string { return "backfill_start" }

// Attrs returns its fields.
func (s BackfillStart) Attrs() []slog.Attr { return []slog.Attr{slog.Int64("backfill_id", s.ID)} }

// Line is a line at info.
func (BackfillStart) Line() (slog.Level, string) { return slog.LevelInfo, "backfill started" }

// Samples counts the backfill.
func (BackfillStart) Samples() []telemetry.Sample {
	return []telemetry.Sample{one(backfills, "started")}
}

// BackfillAdvance says that dates of a backfill have ended, or that it has requested more.
type BackfillAdvance struct {
	ID        int64
	Ended     int64 // dates whose request was resolved, successfully or not
	Requested int64 // dates
}

// Name returns backfill_advance.
func (BackfillAdvance) Name() string { return "backfill_advance" }

// Attrs returns its fields.
func (s BackfillAdvance) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.Int64("backfill_id", s.ID), slog.Int64("dates_ended", s.Ended), slog.Int64("dates_requested", s.Requested),
	}
}

// Line is for debugging.
func (BackfillAdvance) Line() (slog.Level, string) { return slog.LevelDebug, "backfill advanced" }

// Samples counts the dates.
func (s BackfillAdvance) Samples() []telemetry.Sample {
	return []telemetry.Sample{
		{Metric: backfillDates, Labels: []string{"requested"}, Value: float64(s.Requested)},
		{Metric: backfillDates, Labels: []string{"ended"}, Value: float64(s.Ended)},
	}
}

// Cancelled is the outcome of a backfill that somebody has cancelled.
const Cancelled = "cancelled"

// BackfillStop says that every date of a backfill has ended, or that it was cancelled, perhaps before it began. The audit
// has who did it.
type BackfillStop struct {
	ID      int64
	Outcome string // Complete or Cancelled
}

// Name returns backfill_stop.
func (BackfillStop) Name() string { return "backfill_stop" }

// Attrs returns its fields.
func (s BackfillStop) Attrs() []slog.Attr {
	return []slog.Attr{slog.Int64("backfill_id", s.ID), slog.String("outcome", s.Outcome)}
}

// Line is a line at info.
func (BackfillStop) Line() (slog.Level, string) { return slog.LevelInfo, "backfill stopped" }

// Samples counts the backfill.
func (s BackfillStop) Samples() []telemetry.Sample {
	if s.Outcome == Cancelled {
		return []telemetry.Sample{one(backfills, Cancelled)}
	}
	return []telemetry.Sample{one(backfills, "completed")}
}
