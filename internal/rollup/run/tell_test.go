package run_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// ear is a listener that stores signals, and may react to them.
type ear struct {
	mu      sync.Mutex
	signals []telemetry.Signal
	do      func(telemetry.Signal)
}

func (e *ear) Listen(ctx context.Context, one telemetry.Signal) context.Context {
	e.mu.Lock()
	e.signals = append(e.signals, one)
	e.mu.Unlock()
	if e.do != nil {
		e.do(one)
	}
	return ctx
}

// names returns the names of the signals, with repetitions as one.
func (e *ear) names() (names []string) {
	for _, one := range e.signals {
		name := one.Name()
		switch one := one.(type) {
		case signal.PhaseStart:
			name += " " + one.Phase
		case signal.PhaseStop:
			name += " " + one.Phase
		case signal.RunStop:
			name += " " + one.Outcome
		}
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}

func TestTelemetry(t *testing.T) {
	t.Parallel()
	listen := func(t *testing.T) (*testBundle, *ear) {
		t.Helper()
		b, heard := setup(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}), &ear{}
		b.runner.Listeners = telemetry.Listeners{heard}
		b.db.InsertDate(t, day, 5_000, 700)
		return b, heard
	}

	t.Run("Complete", func(t *testing.T) {
		t.Parallel()
		b, heard := listen(t)
		figures := b.rollup(t, day)
		require.Equal(t, []string{
			"run_start", "request_claim", "phase_start scan", "slice", "phase_stop scan", "phase_start publish", "batch",
			"phase_stop publish", "phase_start settle", "request_satisfy", "phase_stop settle", "run_stop complete",
		}, heard.names())
		slices, batches, inserted := 0, 0, int64(0)
		for _, one := range heard.signals {
			switch one := one.(type) {
			case signal.Slice:
				require.Equal(t, signal.Run{ID: figures.RunID, Date: day}, one.Run)
				if one.Outcome == signal.Read {
					slices++
				}
			case signal.Batch:
				require.Equal(t, signal.Run{ID: figures.RunID, Date: day}, one.Run)
				batches++
				inserted += one.Inserted
			case signal.RequestClaim:
				require.EqualValues(t, 1, one.Requests)
			case signal.RequestSatisfy:
				require.EqualValues(t, 1, one.Requests)
			case signal.RunStop:
				require.Equal(t, figures.Events, one.Events)
				require.Equal(t, figures.Longest, one.Longest)
				require.Equal(t, "test", one.Worker)
				require.GreaterOrEqual(t, one.Duration, figures.Worked)
			}
		}
		require.Equal(t, figures.Slices, slices)
		require.Equal(t, figures.Batches, batches)
		require.Equal(t, figures.Inserted, inserted)
	})

	t.Run("Failed", func(t *testing.T) {
		t.Parallel()
		b, heard := listen(t)
		heard.do = func(one telemetry.Signal) {
			if start, ok := one.(signal.PhaseStart); ok && start.Phase == run.PhasePublish {
				_, err := b.db.Exec(t.Context(), "ALTER TABLE analytics.daily_entity_metrics RENAME TO gone")
				require.NoError(t, err)
			}
		}
		b.request(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day, Attempt: 3})
		require.Error(t, err)
		last, ok := heard.signals[len(heard.signals)-1].(signal.RunError)
		require.True(t, ok, fmt.Sprint(heard.names()))
		require.Equal(t, err, last.Err)
		require.Equal(t, 3, last.Attempt)
		stop, ok := heard.signals[len(heard.signals)-2].(signal.PhaseStop)
		require.True(t, ok, fmt.Sprint(heard.names()))
		require.Error(t, stop.Err)
	})

	t.Run("Interrupted", func(t *testing.T) {
		t.Parallel()
		b, heard := listen(t)
		stopped := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		heard.do = func(one telemetry.Signal) {
			if _, ok := one.(signal.Slice); ok {
				cancel(stopped)
			}
		}
		b.request(t, day)
		_, err := b.runner.Run(ctx, run.Order{Date: day})
		require.ErrorIs(t, err, stopped)
		require.Equal(t, []string{
			"run_start", "request_claim", "phase_start scan", "slice", "phase_stop scan", "run_stop interrupted",
		}, heard.names())
	})

	t.Run("Lost", func(t *testing.T) {
		t.Parallel()
		b, heard := listen(t)
		heard.do = func(one telemetry.Signal) {
			if stop, ok := one.(signal.PhaseStop); ok && stop.Phase == run.PhaseScan {
				_, err := b.db.Exec(t.Context(), "UPDATE analytics.rollup_dates SET run_id = run_id + 1000")
				require.NoError(t, err)
			}
		}
		b.request(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, lease.ErrFenced)
		names := heard.names()
		require.Equal(t, "run_stop lost", names[len(names)-1])
	})

	t.Run("NotBegun", func(t *testing.T) {
		t.Parallel()
		b, heard := listen(t)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrNothingToDo)
		require.Empty(t, heard.signals)
	})

	// A date whose metrics stay is not a failure.
	t.Run("Protected", func(t *testing.T) {
		t.Parallel()
		b, heard := listen(t)
		b.request(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.NoError(t, err)
		b.db.Do(t, "DELETE FROM public.raw_events; UPDATE analytics.installation SET event_retention = '1 day'")
		b.request(t, day)
		_, err = b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrProtected)
		names := heard.names()
		require.Equal(t, "run_stop protected", names[len(names)-1])
		stop, ok := heard.signals[len(heard.signals)-1].(signal.RunStop)
		require.True(t, ok)
		require.ErrorIs(t, stop.Err, run.ErrProtected)
		level, _ := stop.Line()
		require.Equal(t, slog.LevelInfo, level)
		require.NoError(t, stop.SpanEnd())
	})
}
