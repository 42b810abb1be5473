// Package verdict reads how things stand from every capability, and judges it: `daymill status`, the overview, the doctor and the alerts take the
// same findings from here. A capability that has checks adds them in [Read], and nowhere else.
package verdict

import (
	"context"
	"time"

	capture "github.com/daymill/daymill/internal/capture/standing"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/standing"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/worker"
)

// Verdict is what was read, and what follows from it.
type Verdict struct {
	Rollup standing.Facts
	Queue  worker.Depth
	// Findings begin with the worst; there is always one.
	Findings []health.Finding
}

// Read reads and judges. What is costly to find out, such as the dates that have events and that nobody has requested, the caller adds to the
// rollup's facts: pages keep it for a while, a command looks each time.
func Read(
	ctx context.Context, db *postgres.DB, installation schema.Installation, now time.Time, add func(facts *standing.Facts) error,
) (Verdict, error) {
	facts, err := standing.Read(ctx, db, installation.Zone, now)
	if err != nil {
		return Verdict{}, err
	}
	if err := add(&facts); err != nil {
		return Verdict{}, err
	}
	captured, err := capture.Read(ctx, db)
	if err != nil {
		return Verdict{}, err
	}
	queue, err := worker.QueueDepth(ctx, db, installation.RiverSchema)
	if err != nil {
		return Verdict{}, err
	}
	return Verdict{Rollup: facts, Queue: queue, Findings: health.Judge(facts.Checks(), queue.Checks(now), captured.Checks())}, nil
}
