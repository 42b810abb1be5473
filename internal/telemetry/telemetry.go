// Package telemetry has the events that Daymill reports while it works, and the interface of their listeners. The packages
// that do the work send events; the log ([Log]), Prometheus (package prom) and OpenTelemetry (package trace) listen. Nothing
// is global: listeners are passed down, through run.Runner and worker.Config.
//
// docs/telemetry.md lists every event, its fields and its sender; a test compares it with [Events].
package telemetry

import (
	"context"
	"log/slog"
)

// Event is one of the types of this package.
type Event interface {
	// Name returns the event's name, such as run_stop.
	Name() string
	// Attrs returns its fields, always the same ones in the same order. They are dates, numbers and names of processes, streams,
	// consumers and tables, never the application's values, entities or parts of a connection's URL. Only the text of an error, always under the key
	// "error", may contain those.
	Attrs() []slog.Attr
}

// Listener receives events as they happen: those of one run in order, those of several runs from several goroutines. The work
// continues when it returns.
type Listener interface {
	// Listen returns ctx, or a context derived from it. The context returned for an event that starts something (run_start,
	// phase_start) is used for everything up to and including the event that stops it, statements included.
	Listen(ctx context.Context, event Event) context.Context
}

// Listeners receive each event in order. The zero value has none, and costs next to nothing.
type Listeners []Listener

// Tell sends an event to listeners, and returns the context for what the event starts. It is a function, so that an event
// without listeners is not allocated on the heap.
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
		ViewTaskStart{},
		ViewTaskStop{},
		ViewRefreshStart{},
		ViewRefresh{},
		ViewDrift{},
		ViewSwap{},
		AccessRefuse{},
		StreamStart{},
		StreamError{},
		Gap{},
		LandStart{},
		Land{},
		DeliveryStart{},
		Delivery{},
		ChunkStart{},
		Chunk{},
	}
}
