package signal_test

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
	"github.com/daymill/daymill/internal/test/promtest"
)

// TestSamples: the metrics of a stream and of a consumer exist, at 0, from their first signal on.
func TestSamples(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	listener := prom.NewListener(registry, signal.Metrics())
	require.NotContains(t, promtest.Totals(t, registry), "daymill_stream_changes_total")
	listener.Listen(t.Context(), signal.StreamStart{Stream: "app", Mode: "wal"})
	listener.Listen(t.Context(), signal.DeliveryStart{Consumer: "hook"})
	before := promtest.Totals(t, registry)
	for _, one := range []telemetry.Signal{
		signal.StreamError{Stream: "app"},
		signal.Gap{Stream: "app", Kind: "slot"},
		signal.Land{Stream: "app", Changes: 7},
		signal.Land{Stream: "app", Changes: 100, Err: errors.New("gone")},
		signal.Delivery{Consumer: "hook", Outcome: signal.Complete, Delivered: 5, Letters: 2},
		signal.Delivery{Consumer: "hook", Outcome: signal.Failed},
		signal.Chunk{Stream: "app", Rows: 9},
		signal.Chunk{Stream: "app", Last: true},
	} {
		listener.Listen(t.Context(), one)
	}
	after := promtest.Totals(t, registry)
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
