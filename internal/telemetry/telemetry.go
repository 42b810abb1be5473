// Package telemetry is how Daymill reports what it does: a signal for each thing that happens, and the interface of those who
// listen to signals. The log ([Log]), Prometheus (package prom) and OpenTelemetry (package trace) listen. Nothing is global:
// listeners are passed down, through run.Runner and worker.Config.
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
	// Line returns how severe it is, and its message in the log.
	Line() (slog.Level, string)
}

// Sampler is implemented by signals that change metrics.
type Sampler interface{ Samples() []Sample }

// Listener receives signals as things happen: those of one run in order, those of several runs from several goroutines. The work
// continues when it returns.
type Listener interface {
	// Listen returns ctx, or a context derived from it. The context returned for a signal that something starts (run_start,
	// phase_start) is used for everything up to and including the signal that it stops, statements included.
	Listen(ctx context.Context, signal Signal) context.Context
}

// Listeners receive each signal in order. The zero value has none, and costs next to nothing.
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
		ctx = listener.Listen(ctx, signal) //nolint:fatcontext // As deep as there are listeners.
	}
	return ctx
}

// Metric is a counter or a histogram of what signals report.
type Metric struct {
	Name, Help string
	Buckets    []float64 // of a histogram, in seconds; nil for a counter
	Labels     []string
	// Values are, for each label, those that are there from the start, at 0, in all combinations: so a rate over them sees the first
	// sample.
	Values [][]string
}

// StatementBuckets are the buckets of a histogram of statements, in seconds: a statement should take a tenth of a second, and a quarter of a
// second at most.
func StatementBuckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .25, .5, 1, 2.5, 5, 15}
}

// Sample changes a metric: it is added to a counter, or observed by a histogram. It is the value of a gauge.
type Sample struct {
	Metric string   // its name
	Labels []string // the labels' values
	Value  float64
	// First makes the series, at 0, and changes nothing: a rate over it sees the first sample.
	First bool
}

// Milliseconds is a field with a duration as the ledger keeps it, with a fraction.
func Milliseconds(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}

// Failure is the field of an error: empty for nil.
func Failure(err error) slog.Attr {
	if err == nil {
		return slog.String("error", "")
	}
	return slog.String("error", err.Error())
}
