// Package telemetry is how Daymill reports what it does. It has the interface of signals, one of which is
// sent for everything that happens, and the interface of their listeners. The log ([Log]), Prometheus
// (package prom) and OpenTelemetry (package trace) listen. Nothing is global: listeners are passed down,
// through run.Runner and worker.Config.
//
// Each capability has its own signals and metrics, such as those of package signal for the rollup. docs/telemetry.md lists every
// signal, its fields and its sender; a test compares it with the code.
package telemetry

import (
	"context"
	"log/slog"
	"time"
)

// Signal says that something has happened.
type Signal interface {
	// Name returns the signal's name, such as run_stop.
	Name() string
	// Attrs returns its fields, always the same ones in the same order. They are dates, numbers and names of processes, never
	// the application's values, entities or parts of a connection's URL. Only the text of an error, always under the key
	// "error", may contain those.
	Attrs() []slog.Attr
	// Line returns the level and the message of its line in the log.
	Line() (slog.Level, string)
}

// Sampler is implemented by signals that change metrics.
type Sampler interface{ Samples() []Sample }

// Listener receives signals as things happen. It gets the signals of one run in order, and those of several
// runs from several goroutines. The work waits until Listen returns.
type Listener interface {
	// Listen returns ctx, or a context derived from it. The context returned for a signal that something starts (run_start,
	// phase_start) is used for everything up to and including the signal that it stops, statements included.
	Listen(ctx context.Context, signal Signal) context.Context
}

// Listeners are called one after another for each signal. The zero value has none, and costs next to nothing.
type Listeners []Listener

// Tell sends a signal to listeners, and returns the context for what it starts. It is a function, so that a signal without
// listeners is not allocated on the heap.
func Tell[S Signal](ctx context.Context, to Listeners, signal S) context.Context {
	if len(to) == 0 {
		return ctx
	}
	return to.tell(ctx, signal)
}

func (l Listeners) tell(ctx context.Context, signal Signal) context.Context {
	for _, listener := range l {
		ctx = listener.Listen(ctx, signal) //nolint:fatcontext // No deeper than the number of listeners.
	}
	return ctx
}

// Metric is a counter or a histogram of what signals report.
type Metric struct {
	Name, Help string
	Buckets    []float64 // buckets of a histogram, in seconds; nil for a counter
	Labels     []string
	// Values are the known values of each label. Series with all combinations of them exist at 0 from the
	// start, so that a rate over them includes the first sample.
	Values [][]string
}

// StatementBuckets are the buckets of histograms of statements, in seconds. A statement should take a tenth
// of a second, and at most a quarter.
func StatementBuckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .25, .5, 1, 2.5, 5, 15}
}

// Sample is a value that is added to a counter or observed by a histogram, or the value of a gauge.
type Sample struct {
	Metric string   // its name
	Labels []string // the labels' values
	Value  float64
	// First only creates the series, at 0, so that a rate over it includes the next sample.
	First bool
}

// Milliseconds returns a field with a duration in milliseconds, with a fraction, as in the ledger.
func Milliseconds(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}

// Failure returns the field of an error, which is empty for nil.
func Failure(err error) slog.Attr {
	if err == nil {
		return slog.String("error", "")
	}
	return slog.String("error", err.Error())
}
