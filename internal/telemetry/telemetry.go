// Package telemetry is what Daymill says of itself while it works: a table of typed events, and the interface of those
// who listen. The packages that do the work tell; the log ([Log]), Prometheus (package prom) and OpenTelemetry (package
// trace) listen. Nothing is global: listeners are handed down, through run.Runner and jobs.Config.
//
// Every event, its fields and who tells it are in docs/telemetry.md, which a test holds to [Events].
package telemetry

import (
	"context"
	"log/slog"
)

// Event is one of the types of this package.
type Event interface {
	// Name is the event's, such as run_stop.
	Name() string
	// Attrs are its fields, always the same ones in the same order. They name dates, numbers and processes, and never a
	// value of the application's, an entity or a part of a connection's URL; only an error's text may, which is always
	// under the key "error".
	Attrs() []slog.Attr
}

// Listener is told of events as they happen, one after another within a run, and from several goroutines at a time: of
// two runs, say. What it does there is done before the work goes on.
type Listener interface {
	// Listen returns ctx, or a context derived of it. What an event that starts something (run_start, phase_start)
	// returns is the context of what follows until the event that stops it, statements included, and is that event's own.
	Listen(ctx context.Context, event Event) context.Context
}

// Listeners are told of an event in order. None is the zero value, and costs next to nothing.
type Listeners []Listener

// Tell tells listeners of an event, and returns the context of what the event starts. It is a function, so that an event
// nobody listens to is not even moved to the heap.
func Tell[E Event](ctx context.Context, to Listeners, event E) context.Context {
	if len(to) == 0 {
		return ctx
	}
	return to.tell(ctx, event)
}

func (l Listeners) tell(ctx context.Context, event Event) context.Context {
	for _, listener := range l {
		ctx = listener.Listen(ctx, event) //nolint:fatcontext // As deep as there are listeners.
	}
	return ctx
}

// Events returns one event of each type, in the order of the documentation.
func Events() []Event {
	return []Event{
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
		Fault{},
		BackfillStart{},
		BackfillAdvance{},
		BackfillStop{},
		VerifyStart{},
		Verify{},
		AccessRefuse{},
	}
}
