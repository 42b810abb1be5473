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

// Lag says how far a consumer is behind the log.
type Lag struct {
	consumer.Progress

	Behind int64         // positions
	Lag    time.Duration // since the commit of the first change that it does not have; 0 if it has all
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
