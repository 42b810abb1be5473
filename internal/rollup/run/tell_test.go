package run_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/run"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// ear keeps the events that it is told, and may do something about them.
type ear struct {
	mu     sync.Mutex
	events []telemetry.Event
	do     func(telemetry.Event)
}

func (e *ear) Listen(ctx context.Context, event telemetry.Event) context.Context {
	e.mu.Lock()
	e.events = append(e.events, event)
	e.mu.Unlock()
	if e.do != nil {
		e.do(event)
	}
	return ctx
}

// names are those of the events, a row of the same ones as one.
func (e *ear) names() (names []string) {
	for _, event := range e.events {
		name := event.Name()
		switch event := event.(type) {
		case telemetry.PhaseStart:
			name += " " + event.Phase
		case telemetry.PhaseStop:
			name += " " + event.Phase
		case telemetry.RunStop:
			name += " " + event.Outcome
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
		for _, event := range heard.events {
			switch event := event.(type) {
			case telemetry.Slice:
				require.Equal(t, telemetry.Run{ID: figures.RunID, Date: day}, event.Run)
				if event.Outcome == telemetry.Read {
					slices++
				}
			case telemetry.Batch:
				require.Equal(t, telemetry.Run{ID: figures.RunID, Date: day}, event.Run)
				batches++
				inserted += event.Inserted
			case telemetry.RequestClaim:
				require.EqualValues(t, 1, event.Requests)
			case telemetry.RequestSatisfy:
				require.EqualValues(t, 1, event.Requests)
			case telemetry.RunStop:
				require.Equal(t, figures.Events, event.Events)
				require.Equal(t, figures.Longest, event.Longest)
				require.Equal(t, "test", event.Worker)
				require.GreaterOrEqual(t, event.Duration, figures.Worked)
			}
		}
		require.Equal(t, figures.Slices, slices)
		require.Equal(t, figures.Batches, batches)
		require.Equal(t, figures.Inserted, inserted)
	})

	t.Run("Failed", func(t *testing.T) {
		t.Parallel()
		b, heard := listen(t)
		heard.do = func(event telemetry.Event) {
			if start, ok := event.(telemetry.PhaseStart); ok && start.Phase == run.PhasePublish {
				_, err := b.db.Exec(t.Context(), "ALTER TABLE analytics.daily_entity_metrics RENAME TO gone")
				require.NoError(t, err)
			}
		}
		b.request(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day, Attempt: 3})
		require.Error(t, err)
		last, ok := heard.events[len(heard.events)-1].(telemetry.RunError)
		require.True(t, ok, fmt.Sprint(heard.names()))
		require.Equal(t, err, last.Err)
		require.Equal(t, 3, last.Attempt)
		stop, ok := heard.events[len(heard.events)-2].(telemetry.PhaseStop)
		require.True(t, ok, fmt.Sprint(heard.names()))
		require.Error(t, stop.Err)
	})

	t.Run("Interrupted", func(t *testing.T) {
		t.Parallel()
		b, heard := listen(t)
		stopped := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(t.Context())
		heard.do = func(event telemetry.Event) {
			if _, ok := event.(telemetry.Slice); ok {
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
		heard.do = func(event telemetry.Event) {
			if stop, ok := event.(telemetry.PhaseStop); ok && stop.Phase == run.PhaseScan {
				_, err := b.db.Exec(t.Context(), "UPDATE analytics.rollup_dates SET run_id = run_id + 1000")
				require.NoError(t, err)
			}
		}
		b.request(t, day)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrFenced)
		names := heard.names()
		require.Equal(t, "run_stop lost", names[len(names)-1])
	})

	t.Run("NotBegun", func(t *testing.T) {
		t.Parallel()
		b, heard := listen(t)
		_, err := b.runner.Run(t.Context(), run.Order{Date: day})
		require.ErrorIs(t, err, run.ErrNothingToDo)
		require.Empty(t, heard.events)
	})
}
