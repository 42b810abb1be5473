package signal_test

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/archive/signal"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
)

// A signal that has figures moves a metric.
func TestSamples(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		signal telemetry.Signal
		moves  []string
	}{
		"Base":       {signal.Base{}, []string{"daymill_archive_bases_total"}},
		"BaseFailed": {signal.Base{Err: errors.New("no")}, []string{"daymill_archive_bases_total"}},
		"Error":      {signal.Error{}, []string{"daymill_archive_errors_total"}},
		"Gap":        {signal.Gap{}, []string{"daymill_archive_gaps_total"}},
		"Proof":      {signal.Proof{Failure: "differs"}, []string{"daymill_archive_proofs_total"}},
		"Seal":       {signal.Seal{Transactions: 2, Bytes: 3}, []string{"daymill_archive_transactions_total", "daymill_archive_segment_bytes_total"}},
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
