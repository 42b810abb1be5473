package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// Look lets a reconciler look once, and returns how many dates need a job and whether one rests.
func Look(ctx context.Context, db *postgres.DB) (dates int, rests bool, err error) {
	r := &reconciler{db: db, clock: pace.SystemClock{}, outage: telemetry.NewOutage(slog.New(slog.DiscardHandler)), silence: time.Minute}
	found, err := r.look(ctx, false)
	return len(found.dates), found.rests, err
}
