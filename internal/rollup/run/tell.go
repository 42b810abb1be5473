package run

import (
	"context"
	"errors"

	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/telemetry"
)

// started reports the beginning of the run, and returns the context for the rest of it.
func (a *active) started(ctx context.Context) context.Context {
	start := signal.RunStart{Run: a.run(), Worker: a.Options.Worker, Attempt: a.order.Attempt}
	if a.resumed != nil {
		start.Resumed = *a.resumed
	}
	return telemetry.Tell(ctx, a.Listeners, start)
}

// stopped reports the end of the run.
func (a *active) stopped(ctx context.Context, err error) {
	figures, took := a.figures(), a.Clock.Now().Sub(a.began)
	outcome := signal.Complete
	var reason error
	switch {
	case err == nil:
	case errors.Is(err, ErrProtected):
		outcome, reason = signal.Protected, err
	case errors.Is(err, lease.ErrFenced):
		outcome = signal.Lost
	case ctx.Err() != nil:
		outcome = signal.Interrupted
	default:
		telemetry.Tell(ctx, a.Listeners, signal.RunError{
			Run: a.run(), Figures: figures, Duration: took, Worker: a.Options.Worker, Attempt: a.order.Attempt, Err: err,
		})
		return
	}
	telemetry.Tell(ctx, a.Listeners, signal.RunStop{
		Run: a.run(), Figures: figures, Duration: took, Worker: a.Options.Worker, Outcome: outcome, Err: reason,
	})
}

// during runs a phase, and reports its beginning and end.
func (a *active) during(ctx context.Context, phase string, do func(ctx context.Context) error) error {
	if len(a.Listeners) == 0 {
		return do(ctx)
	}
	start := a.Clock.Now()
	ctx = telemetry.Tell(ctx, a.Listeners, signal.PhaseStart{Run: a.run(), Phase: phase, Pass: a.passes})
	err := do(ctx)
	telemetry.Tell(ctx, a.Listeners, signal.PhaseStop{
		Run: a.run(), Phase: phase, Pass: a.passes, Duration: a.Clock.Now().Sub(start), Err: err,
	})
	return err
}

func (a *active) run() signal.Run { return signal.Run{ID: a.id, Date: a.order.Date} }
