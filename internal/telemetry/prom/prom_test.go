package prom_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestGauges(t *testing.T) {
	t.Parallel()
	part := func(read func(ctx context.Context) ([]telemetry.Sample, error)) telemetry.Gauges {
		return telemetry.Gauges{All: []telemetry.Gauge{{Name: "daymill_dates", Help: "Dates.", Labels: []string{"state"}}}, Read: read}
	}

	// Gauges that could not be read are missing; the others are served.
	t.Run("Failed", func(t *testing.T) {
		t.Parallel()
		gone := errors.New("gone")
		for name, read := range map[string]func(context.Context) ([]telemetry.Sample, error){
			"Error": func(context.Context) ([]telemetry.Sample, error) { return nil, gone },
			"Labels": func(context.Context) ([]telemetry.Sample, error) {
				return []telemetry.Sample{telemetry.Reading("daymill_dates", 1)}, nil
			},
			"Unknown": func(context.Context) ([]telemetry.Sample, error) {
				return []telemetry.Sample{telemetry.Reading("other", 1)}, nil
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var told error
				gauges := prom.NewGauges(&clock{}, part(read))
				gauges.Failed = func(err error) { told = err }
				require.Equal(t, 1, testutil.CollectAndCount(gauges))
				require.InDelta(t, 0, testutil.ToFloat64(gauges), 0)
				require.Error(t, told)
			})
		}
	})

	t.Run("ReadsAtMostEveryFewSeconds", func(t *testing.T) {
		t.Parallel()
		reads, now := 0, &clock{now: time.Now()}
		gauges := prom.NewGauges(now, part(func(ctx context.Context) ([]telemetry.Sample, error) {
			_, limited := ctx.Deadline()
			require.True(t, limited)
			reads++
			return []telemetry.Sample{telemetry.Reading("daymill_dates", float64(reads), "complete")}, nil
		}))
		var scrapes sync.WaitGroup
		for range 10 {
			scrapes.Go(func() { testutil.CollectAndCount(gauges) })
		}
		scrapes.Wait()
		require.Equal(t, 1, reads)
		now.advance(5 * time.Second)
		testutil.CollectAndCount(gauges)
		require.Equal(t, 2, reads)
		now.advance(-time.Hour) // The clock was set back.
		testutil.CollectAndCount(gauges)
		require.Equal(t, 3, reads)
	})
}
