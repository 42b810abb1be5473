package signal_test

import (
	"testing"

	"github.com/daymill/daymill/internal/test/promtest"
	"github.com/daymill/daymill/internal/view/signal"
)

// TestSamples: each signal with figures changes a metric.
func TestSamples(t *testing.T) {
	t.Parallel()
	promtest.RequireMoves(t, signal.Metrics(), map[string]promtest.Case{})
}
