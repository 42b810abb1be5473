package run

import (
	"context"
	"time"

	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/telemetry"
)

// tell reports the runs of a group, once they are committed, as if each had been alone. Each has its part of the time.
func (g *group) tell(ctx context.Context, took time.Duration) {
	if len(g.Listeners) == 0 {
		return
	}
	for _, m := range g.members {
		run := signal.Run{ID: m.id, Date: m.date}
		ctx := telemetry.Tell(ctx, g.Listeners, signal.RunStart{Run: run, Worker: g.Options.Worker, Attempt: g.order.Attempt})
		telemetry.Tell(ctx, g.Listeners, signal.RequestClaim{Run: run, Requests: m.claimed})
		for i, phase := range []string{PhaseScan, PhasePublish, PhaseSettle} {
			ctx := telemetry.Tell(ctx, g.Listeners, signal.PhaseStart{Run: run, Phase: phase, Pass: 1})
			switch {
			case phase == PhaseScan:
				telemetry.Tell(ctx, g.Listeners, signal.Slice{
					Early: "GroupEvents",
					Run:   run, From: m.bounds.From, To: m.bounds.To, Outcome: signal.Read, Took: g.part(g.phases[i]), Counts: int(m.events),
				})
			case phase == PhasePublish && m.wrote.Changed() > 0:
				telemetry.Tell(ctx, g.Listeners, signal.Batch{Run: run, Outcome: signal.Written, Took: g.part(g.phases[i]), Rows: m.wrote})
			case phase == PhaseSettle:
				telemetry.Tell(ctx, g.Listeners, signal.RequestSatisfy{Run: run, Requests: m.satisfied})
			}
			telemetry.Tell(ctx, g.Listeners, signal.PhaseStop{Run: run, Phase: phase, Pass: 1, Duration: g.part(g.phases[i])})
		}
		telemetry.Tell(ctx, g.Listeners, signal.RunStop{
			Run: run, Figures: g.figures(m), Duration: g.part(took), Worker: g.Options.Worker, Outcome: signal.Complete,
		})
	}
}
