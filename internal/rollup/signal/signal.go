// Package signal has the signals that the rollup sends (see package telemetry), and the metrics that they change. The packages
// that do the work send them: run, slice, batch, verification, backfill, and the worker.
package signal

import (
	"log/slog"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/telemetry"
)

// All returns one signal of each type, in the order of the documentation.
func All() []telemetry.Signal {
	return []telemetry.Signal{
		RunStart{},
		RunStop{},
		RunError{},
		PhaseStart{},
		PhaseStop{},
		Slice{},
		Batch{},
		RequestClaim{},
		RequestSatisfy{},
		RequestEnqueue{},
		RunRescue{},
		BackfillStart{},
		BackfillAdvance{},
		BackfillStop{},
		VerifyStart{},
		Verify{},
	}
}

// Run names the run that a signal belongs to.
type Run struct {
	ID   int64
	Date date.Date
}

func (r Run) attrs(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.Int64("run_id", r.ID), slog.String("date", r.Date.String())}, more...)
}

// Outcomes of a run that ended without an error.
const (
	Complete    = "complete"
	Interrupted = "interrupted" // it was stopped
	Lost        = "lost"        // another run of the date has begun
	Protected   = "protected"   // the date keeps its metrics, because its events are gone or its month is no longer kept
)

// failed is the outcome, in metrics, of a run or a verification that ended with an error.
const failed = "failed"
