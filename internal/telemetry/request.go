package telemetry

import (
	"log/slog"
	"time"

	"github.com/daymill/daymill/internal/date"
)

// RequestClaim says that a run has claimed open requests, which it will satisfy.
type RequestClaim struct {
	Run

	Requests int64
}

// Name returns request_claim.
func (RequestClaim) Name() string { return "request_claim" }

// Attrs returns the event's fields.
func (e RequestClaim) Attrs() []slog.Attr { return e.attrs(slog.Int64("requests", e.Requests)) }

// RequestSatisfy says that requests are satisfied: their date is complete and includes everything that was committed before them.
type RequestSatisfy struct {
	Run

	Requests int64
}

// Name returns request_satisfy.
func (RequestSatisfy) Name() string { return "request_satisfy" }

// Attrs returns the event's fields.
func (e RequestSatisfy) Attrs() []slog.Attr { return e.attrs(slog.Int64("requests", e.Requests)) }

// RequestEnqueue says that a date whose request was open and due got a job.
type RequestEnqueue struct {
	Date     date.Date
	Priority int // of the job
}

// Name returns request_enqueue.
func (RequestEnqueue) Name() string { return "request_enqueue" }

// Attrs returns the event's fields.
func (e RequestEnqueue) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("date", e.Date.String()), slog.Int("priority", e.Priority)}
}

// RunRescue says that a date whose run gave no sign of life is free for another worker.
type RunRescue struct {
	Date date.Date
}

// Name returns run_rescue.
func (RunRescue) Name() string { return "run_rescue" }

// Attrs returns the event's fields.
func (e RunRescue) Attrs() []slog.Attr { return []slog.Attr{slog.String("date", e.Date.String())} }

// Fault says that something that Daymill needs to notice late events and jobs is missing, disabled or changed, or that the source is
// now a different table. It is sent when the fault is first seen, and once a minute until it is fixed.
type Fault struct {
	Sentence string // what is wrong, and what fixes it
}

// Name returns fault.
func (Fault) Name() string { return "fault" }

// Attrs returns the event's fields.
func (e Fault) Attrs() []slog.Attr { return []slog.Attr{slog.String("fault", e.Sentence)} }

// BackfillStart says that a backfill has requested its first dates.
type BackfillStart struct {
	ID int64
}

// Name returns backfill_start.
func (BackfillStart) Name() string { return "backfill_start" }

// Attrs returns the event's fields.
func (e BackfillStart) Attrs() []slog.Attr { return []slog.Attr{slog.Int64("backfill_id", e.ID)} }

// BackfillAdvance says that dates of a backfill have ended, or that it has requested more dates.
type BackfillAdvance struct {
	ID        int64
	Ended     int64 // dates whose request was resolved
	Requested int64 // dates that it has requested
}

// Name returns backfill_advance.
func (BackfillAdvance) Name() string { return "backfill_advance" }

// Attrs returns the event's fields.
func (e BackfillAdvance) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.Int64("backfill_id", e.ID), slog.Int64("dates_ended", e.Ended), slog.Int64("dates_requested", e.Requested),
	}
}

// Cancelled is the outcome of a backfill that somebody has cancelled.
const Cancelled = "cancelled"

// BackfillStop says that every date of a backfill has ended, or that somebody cancelled it, perhaps before it began. The audit
// records who cancelled it.
type BackfillStop struct {
	ID      int64
	Outcome string // Complete or Cancelled
}

// Name returns backfill_stop.
func (BackfillStop) Name() string { return "backfill_stop" }

// Attrs returns the event's fields.
func (e BackfillStop) Attrs() []slog.Attr {
	return []slog.Attr{slog.Int64("backfill_id", e.ID), slog.String("outcome", e.Outcome)}
}

// Drifted is the result of a verification that found metrics that do not match their date's events. The other
// results are those of package verification.
const Drifted = "drifted"

// VerifyStart says that a verification of a date begins. Verify follows, unless the process is killed.
type VerifyStart struct {
	Date date.Date
}

// Name returns verify_start.
func (VerifyStart) Name() string { return "verify_start" }

// Attrs returns the event's fields.
func (e VerifyStart) Attrs() []slog.Attr { return []slog.Attr{slog.String("date", e.Date.String())} }

// Verify says that a verification of a date has ended: its events were counted again and compared with its metrics.
type Verify struct {
	Date                        date.Date
	Result                      string // of package verification, or Interrupted; empty if it failed
	Entities                    int64  // that have events or a row
	Drifted                     int64  // whose row differs from what was counted
	EventsCounted, EventsStored int64
	Repair                      bool // whether a rollup was requested
	Duration                    time.Duration
	Err                         error // nil if it did not fail
}

// Name returns verify.
func (Verify) Name() string { return "verify" }

// Attrs returns the event's fields.
func (e Verify) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("date", e.Date.String()), slog.String("result", e.Result), slog.Int64("entities", e.Entities),
		slog.Int64("drifted_entities", e.Drifted), slog.Int64("events_counted", e.EventsCounted),
		slog.Int64("events_stored", e.EventsStored), slog.Bool("repair_requested", e.Repair),
		milliseconds("duration_ms", e.Duration), failure(e.Err),
	}
}
