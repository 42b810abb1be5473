package prom_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
)

// Every event that has figures moves a metric.
func TestListener(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		event telemetry.Event
		moves []string // metrics that have no labels, or several
	}{
		"Backfill":      {telemetry.BackfillAdvance{Ended: 1, Requested: 2}, []string{"daymill_backfill_dates_total"}},
		"Batch":         {telemetry.Batch{Outcome: telemetry.Written, Deleted: 1}, []string{"daymill_batches_total", "daymill_batch_duration_seconds", "daymill_rows_total"}},
		"Begun":         {telemetry.RunStart{}, []string{"daymill_runs_started_total"}},
		"Drifted":       {telemetry.Verify{Result: telemetry.Drifted, Entities: 2, Drifted: 1}, []string{"daymill_drifted_entities_total", "daymill_verified_dates_total", "daymill_verify_duration_seconds"}},
		"Enqueued":      {telemetry.RequestEnqueue{}, []string{"daymill_requests_total"}},
		"Failed":        {telemetry.RunError{}, []string{"daymill_runs_total", "daymill_run_duration_seconds"}},
		"Phase":         {telemetry.PhaseStop{Phase: "scan"}, []string{"daymill_phase_duration_seconds"}},
		"Fault":         {telemetry.Fault{}, []string{"daymill_faults_total"}},
		"Rescued":       {telemetry.RunRescue{}, []string{"daymill_rescues_total"}},
		"Satisfied":     {telemetry.RequestSatisfy{Requests: 2}, []string{"daymill_requests_total"}},
		"Slice":         {telemetry.Slice{Outcome: telemetry.Read}, []string{"daymill_slices_total", "daymill_slice_duration_seconds"}},
		"Cancelled":     {telemetry.BackfillStop{Outcome: telemetry.Cancelled}, []string{"daymill_backfills_total"}},
		"Started":       {telemetry.BackfillStart{}, []string{"daymill_backfills_total"}},
		"Stopped":       {telemetry.RunStop{Outcome: telemetry.Complete, Figures: telemetry.Figures{Events: 1, Paused: 1}}, []string{"daymill_runs_total", "daymill_events_total", "daymill_run_paused_seconds_total"}},
		"ViewDrift":     {telemetry.ViewDrift{State: "open"}, []string{"daymill_view_drift_total"}},
		"ViewRefreshed": {telemetry.ViewRefresh{Changes: 2, Keys: 1, Lag: 1}, []string{"daymill_view_changes_total", "daymill_view_refreshed_keys_total", "daymill_view_refresh_duration_seconds", "daymill_view_lag_seconds"}},
		"ViewRefused":   {telemetry.ViewRefresh{Err: errors.New("no")}, []string{"daymill_view_refresh_failures_total"}},
		"ViewSwapped":   {telemetry.ViewSwap{}, []string{"daymill_view_swaps_total"}},
		"ViewWorked":    {telemetry.ViewTaskStop{ViewTask: telemetry.ViewTask{Kind: "verify"}, Outcome: telemetry.Complete, Keys: 3, Chunks: 1, Differing: 2, Repaired: 1}, []string{"daymill_view_turns_total", "daymill_view_task_keys_total", "daymill_view_differing_keys_total", "daymill_view_repaired_keys_total", "daymill_view_longest_chunk_seconds"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewPedanticRegistry()
			listener := prom.NewListener(registry)
			before := totals(t, registry)
			require.Equal(t, t.Context(), listener.Listen(t.Context(), test.event))
			after := totals(t, registry)
			for _, metric := range test.moves {
				require.Contains(t, before, metric)
				require.Greater(t, after[metric], before[metric], metric)
			}
		})
	}
}

// The metrics of a stream and of a consumer are there, at 0, once it is heard of.
func TestListener_Capture(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	listener := prom.NewListener(registry)
	require.NotContains(t, totals(t, registry), "daymill_stream_changes_total")
	listener.Listen(t.Context(), telemetry.StreamStart{Stream: "app", Mode: "wal"})
	listener.Listen(t.Context(), telemetry.DeliveryStart{Consumer: "hook"})
	before := totals(t, registry)
	for _, event := range []telemetry.Event{
		telemetry.StreamError{Stream: "app"}, telemetry.Gap{Stream: "app", Kind: "slot"}, telemetry.Land{Stream: "app", Changes: 7},
		telemetry.Land{Stream: "app", Changes: 100, Err: errors.New("gone")},
		telemetry.Delivery{Consumer: "hook", Outcome: telemetry.Complete, Delivered: 5, Letters: 2}, telemetry.Delivery{Consumer: "hook", Outcome: telemetry.Failed},
		telemetry.Chunk{Stream: "app", Rows: 9}, telemetry.Chunk{Stream: "app", Last: true},
	} {
		listener.Listen(t.Context(), event)
	}
	after := totals(t, registry)
	for name, value := range map[string]float64{
		"daymill_stream_errors_total": 1, "daymill_stream_gaps_total": 1, "daymill_stream_changes_total": 7,
		"daymill_stream_landing_duration_seconds": 1, "daymill_consumer_batches_total": 2, "daymill_consumer_batch_duration_seconds": 1,
		"daymill_consumer_delivered_total": 5, "daymill_consumer_refused_total": 2, "daymill_snapshot_rows_total": 9,
		"daymill_snapshot_chunk_duration_seconds": 2, "daymill_snapshots_completed_total": 1,
	} {
		require.Contains(t, before, name)
		require.InDelta(t, 0, before[name], 0, name)
		require.InDelta(t, value, after[name], 0, name)
	}
}

// totals adds up what the series of each metric come to.
func totals(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			all[family.GetName()] += metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return all
}

func TestMetricsAreNamedByConvention(t *testing.T) {
	t.Parallel()
	registry := prom.NewRegistry("test")
	prom.NewListener(registry)
	registry.MustRegister(&prom.Gauges{Clock: &clock{}, Read: func(context.Context) (prom.Snapshot, error) {
		now := time.Now()
		return prom.Snapshot{
			LastSchedule: &now, OldestAvailable: &now, Streams: []prom.Stream{{Name: "app"}}, Consumers: []prom.Consumer{{Name: "hook"}},
		}, nil
	}})
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

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
