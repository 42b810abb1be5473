package run

import (
	"context"
	"errors"

	"github.com/daymill/daymill/internal/telemetry"
)

// started reports the beginning of the run, and returns the context for the rest of it.
func (a *active) started(ctx context.Context) context.Context {
	a.began = a.Clock.Now()
	event := telemetry.RunStart{Run: a.event(), Worker: a.Options.Worker, Attempt: a.order.Attempt}
	if a.resumed != nil {
		event.Resumed = *a.resumed
	}
	return telemetry.Tell(ctx, a.Listeners, event)
}

// stopped reports the end of the run.
func (a *active) stopped(ctx context.Context, err error) {
	f := a.figures()
	figures := telemetry.Figures{
		Duration: a.Clock.Now().Sub(a.began), Events: f.Events, Entities: f.Entities,
		Inserted: f.Inserted, Updated: f.Updated, Deleted: f.Deleted,
		Passes: f.Passes, Slices: f.Slices, Batches: f.Batches, Fetches: f.Fetches,
		Longest: f.Longest, Worked: f.Worked, Paused: f.Paused,
	}
	outcome := telemetry.Complete
	switch {
	case err == nil:
	case errors.Is(err, ErrFenced):
		outcome = telemetry.Lost
	case ctx.Err() != nil:
		outcome = telemetry.Interrupted
	default:
		telemetry.Tell(ctx, a.Listeners, telemetry.RunError{
			Run: a.event(), Figures: figures, Worker: a.Options.Worker, Attempt: a.order.Attempt, Err: err,
		})
		return
	}
	telemetry.Tell(ctx, a.Listeners, telemetry.RunStop{
		Run: a.event(), Figures: figures, Worker: a.Options.Worker, Outcome: outcome,
	})
}

// during runs a phase, and reports its beginning and end.
func (a *active) during(ctx context.Context, phase string, do func(ctx context.Context) error) error {
	if len(a.Listeners) == 0 {
		return do(ctx)
	}
	start := a.Clock.Now()
	ctx = telemetry.Tell(ctx, a.Listeners, telemetry.PhaseStart{Run: a.event(), Phase: phase, Pass: a.passes})
	err := do(ctx)
	telemetry.Tell(ctx, a.Listeners, telemetry.PhaseStop{
		Run: a.event(), Phase: phase, Pass: a.passes, Duration: a.Clock.Now().Sub(start), Err: err,
	})
	return err
}

func (a *active) event() telemetry.Run { return telemetry.Run{ID: a.id, Date: a.order.Date} }
