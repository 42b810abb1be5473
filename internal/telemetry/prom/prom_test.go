package prom_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

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

	t.Run("Failed", func(t *testing.T) {
		t.Parallel()
		var told error
		gone := errors.New("gone")
		gauges := &prom.Gauges{
			Clock: &clock{}, Failed: func(err error) { told = err },
			Read: func(context.Context) (prom.Snapshot, error) { return prom.Snapshot{}, gone },
		}
		require.Equal(t, 1, testutil.CollectAndCount(gauges))
		require.InDelta(t, 0, testutil.ToFloat64(gauges), 0)
		require.Equal(t, gone, told)
	})

	t.Run("ReadsAtMostEveryFewSeconds", func(t *testing.T) {
		t.Parallel()
		reads, now := 0, &clock{now: time.Now()}
		gauges := &prom.Gauges{Clock: now, Read: func(ctx context.Context) (prom.Snapshot, error) {
			_, limited := ctx.Deadline()
			require.True(t, limited)
			reads++
			return prom.Snapshot{Dates: map[string]int64{"complete": int64(reads)}}, nil
		}}
		var scrapes sync.WaitGroup
		for range 10 {
			scrapes.Go(func() { testutil.CollectAndCount(gauges) })
		}
		scrapes.Wait()
		require.Equal(t, 1, reads)
		now.advance(5 * time.Second)
		testutil.CollectAndCount(gauges)
		require.Equal(t, 2, reads)
		now.advance(-time.Hour) // The clock was put right.
		testutil.CollectAndCount(gauges)
		require.Equal(t, 3, reads)
	})
}
