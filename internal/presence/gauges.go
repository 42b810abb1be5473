package presence

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

const workersAlive = "daymill_workers_alive"

// Gauges returns how many workers are alive.
func Gauges(conn *postgres.DB) telemetry.Gauges {
	return telemetry.Gauges{
		All: []telemetry.Gauge{{Name: workersAlive, Help: "Worker processes seen within two minutes."}},
		Read: func(ctx context.Context) ([]telemetry.Sample, error) {
			var count int64
			err := conn.Read(ctx, func(on postgres.DBTX) (err error) {
				count, err = db.New(on).WorkerCount(ctx, Alive)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("count workers: %w", err)
			}
			return []telemetry.Sample{telemetry.Reading(workersAlive, float64(count))}, nil
		},
	}
}
