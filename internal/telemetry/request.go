package telemetry

import (
	"log/slog"
	"time"

	"github.com/daymill/daymill/internal/date"
)

// RequestClaim says that a run has taken open requests, which it will satisfy.
type RequestClaim struct {
	Run

	Requests int64
}

// Name is request_claim.
func (RequestClaim) Name() string { return "request_claim" }

// Attrs are its fields.
func (e RequestClaim) Attrs() []slog.Attr { return e.attrs(slog.Int64("requests", e.Requests)) }

// RequestSatisfy says that requests are satisfied: their date is complete with all that was committed before them.
type RequestSatisfy struct {
	Run

	Requests int64
}

// Name is request_satisfy.
func (RequestSatisfy) Name() string { return "request_satisfy" }

// Attrs are its fields.
func (e RequestSatisfy) Attrs() []slog.Attr { return e.attrs(slog.Int64("requests", e.Requests)) }

// RequestEnqueue says that a date whose request was open and due got a job.
type RequestEnqueue struct {
	Date     date.Date
	Priority int // of the job
}

// Name is request_enqueue.
func (RequestEnqueue) Name() string { return "request_enqueue" }

// Attrs are its fields.
func (e RequestEnqueue) Attrs() []slog.Attr {
	return []slog.Attr{slog.String("date", e.Date.String()), slog.Int("priority", e.Priority)}
}

// RunRescue says that a date whose run gave no sign of life was handed to another worker.
type RunRescue struct {
	Date date.Date
}

// Name is run_rescue.
func (RunRescue) Name() string { return "run_rescue" }

// Attrs are its fields.
func (e RunRescue) Attrs() []slog.Attr { return []slog.Attr{slog.String("date", e.Date.String())} }

// Fault says that something which late events and jobs are noticed by is lost, disabled or changed, or that the source is
// another table by now. It is told when it is first seen, and again as long as it lasts, once a minute.
type Fault struct {
	Sentence string // what is wrong, and what fixes it
}

// Name is fault.
func (Fault) Name() string { return "fault" }

// Attrs are its fields.
func (e Fault) Attrs() []slog.Attr { return []slog.Attr{slog.String("fault", e.Sentence)} }

// BackfillStart says that a backfill has asked for its first dates.
type BackfillStart struct {
	ID int64
}

// Name is backfill_start.
func (BackfillStart) Name() string { return "backfill_start" }

// Attrs are its fields.
func (e BackfillStart) Attrs() []slog.Attr { return []slog.Attr{slog.Int64("backfill_id", e.ID)} }

// BackfillAdvance says that dates of a backfill have ended, or that it has asked for more.
type BackfillAdvance struct {
	ID        int64
	Ended     int64 // dates whose request was resolved, one way or another
	Requested int64 // dates that it has asked for
}

// Name is backfill_advance.
func (BackfillAdvance) Name() string { return "backfill_advance" }

// Attrs are its fields.
func (e BackfillAdvance) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.Int64("backfill_id", e.ID), slog.Int64("dates_ended", e.Ended), slog.Int64("dates_requested", e.Requested),
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

// Name is backfill_stop.
func (BackfillStop) Name() string { return "backfill_stop" }

// Attrs are its fields.
func (e BackfillStop) Attrs() []slog.Attr {
	return []slog.Attr{slog.Int64("backfill_id", e.ID), slog.String("outcome", e.Outcome)}
}

// Drifted is the result of a verification that found metrics which are not what their date's events come to. The other
// results are those of package verification.
const Drifted = "drifted"

// VerifyStart says that a date's events are about to be counted again. Verify follows, unless the process is killed.
type VerifyStart struct {
	Date date.Date
}

// Name is verify_start.
func (VerifyStart) Name() string { return "verify_start" }

// Attrs are its fields.
func (e VerifyStart) Attrs() []slog.Attr { return []slog.Attr{slog.String("date", e.Date.String())} }

// Verify says that a verification of a date has ended: its events were counted again and compared with its metrics.
type Verify struct {
	Date                        date.Date
	Result                      string // of package verification, or Interrupted; empty where it failed
	Entities                    int64  // that have events or a row
	Drifted                     int64  // whose row is not what was counted
	EventsCounted, EventsStored int64
	Repair                      bool // whether a rollup was requested
	Duration                    time.Duration
	Err                         error // nil where it came to its end
}

// Name is verify.
func (Verify) Name() string { return "verify" }

// Attrs are its fields.
func (e Verify) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("date", e.Date.String()), slog.String("result", e.Result), slog.Int64("entities", e.Entities),
		slog.Int64("drifted_entities", e.Drifted), slog.Int64("events_counted", e.EventsCounted),
		slog.Int64("events_stored", e.EventsStored), slog.Bool("repair_requested", e.Repair),
		milliseconds("duration_ms", e.Duration), failure(e.Err),
	}
}
