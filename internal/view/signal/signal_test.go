package signal_test

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
	"github.com/daymill/daymill/internal/view/signal"
)

// A signal that has figures moves a metric.
func TestSamples(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		signal telemetry.Signal
		moves  []string
	}{
		"Drift":     {signal.Drift{State: "open"}, []string{"daymill_view_drift_total"}},
		"Refreshed": {signal.Refresh{Changes: 2, Keys: 1, Lag: 1}, []string{"daymill_view_changes_total", "daymill_view_refreshed_keys_total", "daymill_view_refresh_duration_seconds", "daymill_view_lag_seconds"}},
		"Refused":   {signal.Refresh{Err: errors.New("no")}, []string{"daymill_view_refresh_failures_total"}},
		"Swapped":   {signal.Swap{}, []string{"daymill_view_swaps_total"}},
		"Worked":    {signal.TaskStop{Task: signal.Task{Kind: "verify"}, Outcome: signal.Complete, Keys: 3, Chunks: 1, Differing: 2, Repaired: 1}, []string{"daymill_view_turns_total", "daymill_view_task_keys_total", "daymill_view_differing_keys_total", "daymill_view_repaired_keys_total", "daymill_view_longest_chunk_seconds"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewPedanticRegistry()
			listener := prom.NewListener(registry, signal.Metrics())
			before := totals(t, registry)
			require.Equal(t, t.Context(), listener.Listen(t.Context(), test.signal))
			after := totals(t, registry)
			for _, metric := range test.moves {
				require.Contains(t, before, metric)
				require.Greater(t, after[metric], before[metric], metric)
			}
		})
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
