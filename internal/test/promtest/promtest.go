// Package promtest tests how the signals of a capability change its metrics, and its gauges.
package promtest

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
)

// Case is a signal and the metrics that it changes.
type Case struct {
	Signal telemetry.Signal
	Moves  []string // names of metrics that exist from the start: those without labels, or whose labels' values are known
}

// RequireMoves checks that each signal changes its metrics.
func RequireMoves(t *testing.T, metrics []telemetry.Metric, cases map[string]Case) {
	t.Helper()
	for name, one := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewPedanticRegistry()
			listener := prom.NewListener(registry, metrics)
			before := Totals(t, registry)
			require.Equal(t, t.Context(), listener.Listen(t.Context(), one.Signal))
			after := Totals(t, registry)
			for _, metric := range one.Moves {
				require.Contains(t, before, metric)
				require.Greater(t, after[metric], before[metric], metric)
			}
		})
	}
}

// Totals adds up the series of each metric: the values of counters, and the counts of histograms.
func Totals(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
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

// Read reads gauges, by name and labels' values: {"daymill_dates complete": 21}. Every sample must be of a gauge of the list.
func Read(t *testing.T, gauges telemetry.Gauges) map[string]float64 {
	t.Helper()
	labels := map[string]int{}
	for _, gauge := range gauges.All {
		labels[gauge.Name] = len(gauge.Labels)
	}
	samples, err := gauges.Read(t.Context())
	require.NoError(t, err)
	all := map[string]float64{}
	for _, sample := range samples {
		require.Contains(t, labels, sample.Metric)
		require.Len(t, sample.Labels, labels[sample.Metric], sample.Metric)
		key := strings.Join(append([]string{sample.Metric}, sample.Labels...), " ")
		require.NotContains(t, all, key)
		all[key] = sample.Value
	}
	return all
}
