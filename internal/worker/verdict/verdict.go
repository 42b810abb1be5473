// Package verdict reads the state of every capability and judges it. `daymill status`, the overview, the doctor and the alerts
// use the same findings. A capability adds its checks in [Read] and nowhere else.
package verdict

import (
	"context"
	"fmt"
	"time"

	archive "github.com/daymill/daymill/internal/archive/standing"
	capture "github.com/daymill/daymill/internal/capture/standing"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/standing"
	"github.com/daymill/daymill/internal/schema"
	view "github.com/daymill/daymill/internal/view/standing"
	"github.com/daymill/daymill/internal/worker"
)

// Verdict is the state that was read, and its findings.
type Verdict struct {
	Rollup standing.Facts
	Queue  worker.Depth
	// Findings has at least one finding, worst first.
	Findings []health.Finding
}

// Read reads and judges the state. The caller adds facts that are expensive to find out, such as dates that have events and that
// nobody has requested: pages cache them, and commands look each time. The archive is nil if
// none is known.
func Read(
	ctx context.Context, conn *postgres.DB, installation schema.Installation, now time.Time, archived *archive.Source, add func(facts *standing.Facts) error,
) (Verdict, error) {
	facts, err := standing.Read(ctx, conn, installation.Zone, now)
	if err != nil {
		return Verdict{}, err
	}
	if err := add(&facts); err != nil {
		return Verdict{}, err
	}
	captured, views, used, err := others(ctx, conn)
	if err != nil {
		return Verdict{}, err
	}
	facts.Others = used || archived != nil
	queue, err := worker.QueueDepth(ctx, conn, installation.RiverSchema)
	if err != nil {
		return Verdict{}, err
	}
	var kept []health.Check
	if archived != nil {
		facts, err := archived.Read(ctx, conn, now)
		if err != nil {
			return Verdict{}, err
		}
		kept = facts.Checks()
	}
	return Verdict{Rollup: facts, Queue: queue, Findings: health.Judge(facts.Checks(), queue.Checks(now), captured.Checks(), views.Checks(), kept)}, nil
}

// others reads the capabilities that an installation may not use, and reports whether it uses any. If it uses none, this costs one
// short query.
func others(ctx context.Context, conn *postgres.DB) (captured capture.Facts, views view.Facts, inUse bool, err error) {
	var used db.CapabilityUsedRow
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		used, err = db.New(on).CapabilityUsed(ctx)
		return err
	})
	if err != nil {
		return captured, views, false, fmt.Errorf("find out which capabilities are used: %w", err)
	}
	if used.HasStreams {
		if captured, err = capture.Read(ctx, conn); err != nil {
			return captured, views, false, err
		}
	}
	if used.HasViews {
		views, err = view.Read(ctx, conn)
	}
	return captured, views, used.HasStreams || used.HasViews, err
}
