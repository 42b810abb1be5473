package worker

import (
	"log/slog"

	"github.com/daymill/daymill/internal/telemetry"
)

// Fault says that an object that Daymill needs to notice late events and jobs is missing, disabled or changed, or that the source is now another
// table. It is sent when the fault is first seen, and once a minute as long as it lasts.
type Fault struct {
	Sentence string // what is wrong, and how to fix it
}

const faultsMetric = "daymill_faults_total"

// Signals returns one signal of each type of this package.
func Signals() []telemetry.Signal { return []telemetry.Signal{Fault{}} }

// Metrics returns the metrics that these signals change.
func Metrics() []telemetry.Metric {
	return []telemetry.Metric{{
		Name: faultsMetric, Help: "Checks of the worker that found something that Daymill needs missing, disabled or changed.",
	}}
}

// Name returns fault.
func (Fault) Name() string { return "fault" }

// Attrs returns its fields.
func (f Fault) Attrs() []slog.Attr { return []slog.Attr{slog.String("fault", f.Sentence)} }

// Line is an error.
func (Fault) Line() (slog.Level, string) {
	return slog.LevelError, "something that Daymill needs is missing or changed"
}

// Samples counts the fault.
func (Fault) Samples() []telemetry.Sample {
	return []telemetry.Sample{{Metric: faultsMetric, Value: 1}}
}
