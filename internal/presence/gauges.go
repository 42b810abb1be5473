package presence

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// Names of the gauges.
const (
	workersAlive     = "daymill_workers_alive"
	workerPace       = "daymill_worker_pace"
	followerUp       = "daymill_follower_up"
	followerLag      = "daymill_follower_lag_seconds"
	followerLagBytes = "daymill_follower_lag_bytes"
)

// Gauges returns how many workers are alive, and what they see of their followers.
func Gauges(conn *postgres.DB) telemetry.Gauges {
	follower := []string{"follower"}
	return telemetry.Gauges{
		All: []telemetry.Gauge{
			{Name: workersAlive, Help: "Worker processes seen within two minutes."},
			{Name: workerPace, Labels: []string{"worker"}, Help: "How long the worker's runs pause now, as a multiple of a statement's time; 0 means no pauses."},
			{Name: followerUp, Labels: follower, Help: "1 if all workers can read events from the follower with this number in --source-url."},
			{Name: followerLag, Labels: follower, Help: "Age of the last transaction that a late follower has replayed; 0 if it keeps up."},
			{Name: followerLagBytes, Labels: follower, Help: "WAL that a late follower has not replayed yet; 0 if it keeps up."},
		},
		Read: func(ctx context.Context) (samples []telemetry.Sample, err error) {
			err = conn.Read(ctx, func(on postgres.DBTX) error {
				count, err := db.New(on).WorkerCount(ctx, Alive)
				if err != nil {
					return fmt.Errorf("count workers: %w", err)
				}
				workers, err := List(ctx, on, Alive)
				samples = append(followerSamples(workers), telemetry.Reading(workersAlive, float64(count)))
				for _, w := range workers {
					samples = append(samples, telemetry.Reading(workerPace, w.pace(), w.Name))
				}
				return err
			})
			return samples, err
		},
	}
}

// followerSamples returns the worst that any worker sees of each follower. One that cannot be read has no lag.
func followerSamples(workers []Worker) (samples []telemetry.Sample) {
	worst := map[int]Follower{}
	for _, worker := range workers {
		for _, f := range worker.Followers {
			if !f.Late {
				f.Behind, f.Delay = 0, 0
			}
			before := worst[f.Number]
			worst[f.Number] = Follower{
				Number: f.Number, Problem: cmp.Or(before.Problem, f.Problem), Behind: max(before.Behind, f.Behind), Delay: max(before.Delay, f.Delay),
			}
		}
	}
	for _, f := range worst {
		number := strconv.Itoa(f.Number)
		samples = append(samples, telemetry.Reading(followerUp, telemetry.Flag(f.Problem == ""), number))
		if f.Problem == "" {
			samples = append(samples, telemetry.Reading(followerLag, f.Delay.Seconds(), number), telemetry.Reading(followerLagBytes, float64(f.Behind), number))
		}
	}
	return samples
}
