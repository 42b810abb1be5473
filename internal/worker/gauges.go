package worker

import (
	"context"
	"maps"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// Names of the gauges.
const (
	queueJobs       = "daymill_queue_jobs"
	oldestAvailable = "daymill_queue_oldest_available_age_seconds"
)

// Gauges returns the gauges of the queue.
func Gauges(conn *postgres.DB, riverSchema string, clock pace.Clock) telemetry.Gauges {
	return telemetry.Gauges{
		All: []telemetry.Gauge{
			{Name: queueJobs, Help: "Daymill's unfinished jobs, by River's state.", Labels: []string{"state"}},
			{Name: oldestAvailable, Help: "How long the oldest job has been ready to run; 0 if none is."},
		},
		Read: func(ctx context.Context) ([]telemetry.Sample, error) {
			depth, err := QueueDepth(ctx, conn, riverSchema)
			if err != nil {
				return nil, err
			}
			age := 0.0
			if depth.OldestWaiting != nil {
				age = max(0, clock.Now().Sub(*depth.OldestWaiting).Seconds())
			}
			samples := []telemetry.Sample{telemetry.Reading(oldestAvailable, age)}
			counts := map[string]int64{"available": 0, "pending": 0, "retryable": 0, "running": 0, "scheduled": 0}
			maps.Copy(counts, depth.ByState)
			for state, count := range counts {
				samples = append(samples, telemetry.Reading(queueJobs, float64(count), state))
			}
			return samples, nil
		},
	}
}
