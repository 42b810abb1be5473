package standing

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// mostLags is the maximum number of consumers whose first undelivered change is looked up.
const mostLags = 50

// Gauges are figures of capture for monitoring.
type Gauges struct {
	Streams   []db.StreamStandingRow
	Snapshots []db.StreamSnapshotsRow // unfinished snapshots, of streams that have some
	Consumers []Lag
}

// Lag says how far a consumer is behind the log.
type Lag struct {
	consumer.Progress

	Behind int64         // positions
	Lag    time.Duration // since the commit of the first change that it does not have; 0 if it has all
}

// ReadGauges reads the gauges.
func ReadGauges(ctx context.Context, conn *postgres.DB, now time.Time) (g Gauges, err error) {
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		queries := db.New(on)
		if g.Streams, err = queries.StreamStanding(ctx); err != nil {
			return fmt.Errorf("read the state of streams: %w", err)
		}
		if len(g.Streams) == 0 {
			return nil
		}
		if g.Snapshots, err = queries.StreamSnapshots(ctx); err != nil {
			return fmt.Errorf("read the progress of snapshots: %w", err)
		}
		g.Consumers, err = Lags(ctx, on, now)
		return err
	})
	return g, err
}

// Lags returns how far each consumer is behind.
func Lags(ctx context.Context, on postgres.DBTX, now time.Time) ([]Lag, error) {
	streams, err := db.New(on).StreamHeads(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the positions of streams: %w", err)
	}
	all, err := consumer.List(ctx, on)
	if err != nil {
		return nil, err
	}
	heads := make(map[string]int64, len(streams))
	for _, s := range streams {
		heads[s.Name] = s.Position
	}
	list := make([]Lag, len(all))
	looked := 0
	for i, p := range all {
		list[i] = Lag{Progress: p, Behind: max(0, heads[p.Stream]-p.Position)}
		if list[i].Behind == 0 || looked == mostLags {
			continue
		}
		looked++
		since, err := (log.Log{}).Next(ctx, on, p.Stream, p.Position)
		if err != nil {
			return nil, err
		}
		if !since.IsZero() {
			list[i].Lag = max(0, now.Sub(since))
		}
	}
	return list, nil
}
