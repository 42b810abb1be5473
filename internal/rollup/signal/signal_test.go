package signal_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/promtest"
)

// TestSamples: each signal with figures changes a metric.
func TestSamples(t *testing.T) {
	t.Parallel()
	promtest.RequireMoves(t, signal.Metrics(), map[string]promtest.Case{})
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
			`level=ERROR msg="run failed"`:                                 signal.RunError{Run: run, Err: errors.New("x")},
			`level=ERROR msg="verification failed"`:                        signal.Verify{Err: errors.New("x")},
			`level=INFO msg="date verified"`:                               signal.Verify{Entities: 1},
			`level=WARN msg="date of a dead worker was handed to another"`: signal.RunRescue{},
			`level=WARN msg="a date's metrics do not match its events"`:    signal.Verify{Result: signal.Drifted},
		} {
			require.Contains(t, lines(slog.LevelDebug, one), want)
		}
	})
}
