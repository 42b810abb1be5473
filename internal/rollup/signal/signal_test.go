package signal_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/telemetry/prom"
)

// A signal that has figures moves a metric.
func TestSamples(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		signal telemetry.Signal
		moves  []string // metrics that have no labels, or several
	}{
		"Backfill":  {signal.BackfillAdvance{Ended: 1, Requested: 2}, []string{"daymill_backfill_dates_total"}},
		"Batch":     {signal.Batch{Outcome: signal.Written, Rows: figure.Rows{Deleted: 1}}, []string{"daymill_batches_total", "daymill_batch_duration_seconds", "daymill_rows_total"}},
		"Begun":     {signal.RunStart{}, []string{"daymill_runs_started_total"}},
		"Drifted":   {signal.Verify{Result: signal.Drifted, Entities: 2, Drifted: 1}, []string{"daymill_drifted_entities_total", "daymill_verified_dates_total", "daymill_verify_duration_seconds"}},
		"Enqueued":  {signal.RequestEnqueue{}, []string{"daymill_requests_total"}},
		"Failed":    {signal.RunError{}, []string{"daymill_runs_total", "daymill_run_duration_seconds"}},
		"Phase":     {signal.PhaseStop{Phase: "scan"}, []string{"daymill_phase_duration_seconds"}},
		"Rescued":   {signal.RunRescue{}, []string{"daymill_rescues_total"}},
		"Satisfied": {signal.RequestSatisfy{Requests: 2}, []string{"daymill_requests_total"}},
		"Slice":     {signal.Slice{Outcome: signal.Read}, []string{"daymill_slices_total", "daymill_slice_duration_seconds"}},
		"Cancelled": {signal.BackfillStop{Outcome: signal.Cancelled}, []string{"daymill_backfills_total"}},
		"Started":   {signal.BackfillStart{}, []string{"daymill_backfills_total"}},
		"Stopped":   {signal.RunStop{Outcome: signal.Complete, Figures: figure.Figures{Events: 1, Paused: 1}}, []string{"daymill_runs_total", "daymill_events_total", "daymill_run_paused_seconds_total"}},
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

func TestLines(t *testing.T) {
	t.Parallel()
	run := signal.Run{ID: 7, Date: date.MustParse("2026-03-01")}
	lines := func(level slog.Level, signals ...telemetry.Signal) string {
		var out bytes.Buffer
		log := telemetry.Log{Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			Level: level,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))}
		for _, one := range signals {
			require.Equal(t, t.Context(), log.Listen(t.Context(), one))
		}
		return out.String()
	}

	t.Run("OneLinePerRunAtInfo", func(t *testing.T) {
		t.Parallel()
		signals := []telemetry.Signal{
			signal.RunStart{Run: run},
			signal.RequestClaim{Run: run},
			signal.PhaseStart{Run: run},
			signal.Slice{Run: run},
			signal.PhaseStop{Run: run},
			signal.Batch{Run: run},
			signal.RequestSatisfy{Run: run},
			signal.RunStop{Run: run, Worker: "w", Outcome: signal.Complete, Figures: figure.Figures{Events: 3, Longest: 1500}},
		}
		require.Equal(t, `level=INFO msg="run stopped" run_id=7 date=2026-03-01 worker=w outcome=complete duration_ms=0 events=3 `+
			"entities=0 rows_inserted=0 rows_updated=0 rows_deleted=0 passes=0 slices=0 fetches=0 batches=0 "+
			"longest_statement_ms=0.001 worked_ms=0 paused_ms=0\n", lines(slog.LevelInfo, signals...))
		require.Equal(t, len(signals), strings.Count(lines(slog.LevelDebug, signals...), "\n"))
	})

	t.Run("Severity", func(t *testing.T) {
		t.Parallel()
		for want, one := range map[string]telemetry.Signal{
			`level=ERROR msg="run failed"`:                               signal.RunError{Run: run, Err: errors.New("x")},
			`level=ERROR msg="verification failed"`:                      signal.Verify{Err: errors.New("x")},
			`level=INFO msg="date verified"`:                             signal.Verify{Entities: 1},
			`level=WARN msg="date of a dead worker is free for another"`: signal.RunRescue{},
			`level=WARN msg="a date's metrics do not match its events"`:  signal.Verify{Result: signal.Drifted},
		} {
			require.Contains(t, lines(slog.LevelDebug, one), want)
		}
	})
}
