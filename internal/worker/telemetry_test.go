package worker_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/backfill"
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
)

// ear is a listener that stores its signals.
type ear struct {
	mu      sync.Mutex
	signals []telemetry.Signal
}

func (e *ear) Listen(ctx context.Context, one telemetry.Signal) context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.signals = append(e.signals, one)
	return ctx
}

// heard returns the signals of a type, in order.
func heard[S telemetry.Signal](e *ear) (all []S) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.signals {
		if wanted, is := one.(S); is {
			all = append(all, wanted)
		}
	}
	return all
}

func TestTelemetry(t *testing.T) {
	t.Parallel()
	listen := func() (*ear, func(*worker.Config)) {
		e := &ear{}
		return e, func(c *worker.Config) { c.Listeners = telemetry.Listeners{e} }
	}

	t.Run("Backfill", func(t *testing.T) {
		t.Parallel()
		b, all := setupUnscheduled(t), dates(3)
		ears, configure := listen()
		b.start(t, configure)
		var id int64
		require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) (err error) {
			id, _, err = backfill.Start(t.Context(), tx, backfill.Plan{
				Range: date.Range{First: all[0], Last: all[2]}, InFlight: 2, EveryDate: true,
			})
			return err
		}))
		b.db.Wait(t, "SELECT state = 'complete' FROM analytics.backfills WHERE id = $1", id)
		require.Eventually(t, func() bool { return len(heard[signal.BackfillStop](ears)) > 0 }, patience, 20*time.Millisecond)
		require.Equal(t, []signal.BackfillStart{{ID: id}}, heard[signal.BackfillStart](ears))
		require.Equal(t, []signal.BackfillStop{{ID: id, Outcome: signal.Complete}}, heard[signal.BackfillStop](ears))
		var ended, requested int64
		for _, step := range heard[signal.BackfillAdvance](ears) {
			require.Equal(t, id, step.ID)
			ended, requested = ended+step.Ended, requested+step.Requested
		}
		require.EqualValues(t, 3, ended)
		require.EqualValues(t, 3, requested)
	})

	t.Run("BackfillCancelled", func(t *testing.T) {
		t.Parallel()
		b, all := setupUnscheduled(t), dates(3)
		var ids []int64
		for range 2 { // One of them has not begun.
			require.NoError(t, pgx.BeginFunc(t.Context(), b.db, func(tx pgx.Tx) error {
				id, _, err := backfill.Start(t.Context(), tx, backfill.Plan{Range: date.Range{First: all[0], Last: all[2]}, InFlight: 1, EveryDate: true})
				ids = append(ids, id)
				return err
			}))
		}
		require.NoError(t, backfill.SetState(t.Context(), b.db.DB, ids[0], backfill.Cancelled, audit.Who{Via: "cli"}))
		// Two workers have the same listener: only one of them sends the signal.
		ears, configure := listen()
		b.start(t, configure)
		b.start(t, configure)
		b.db.Wait(t, "SELECT state = 'complete' FROM analytics.backfills WHERE id = $1", ids[1])
		require.Eventually(t, func() bool { return len(heard[signal.BackfillStop](ears)) > 1 }, patience, 20*time.Millisecond)
		require.ElementsMatch(t, []signal.BackfillStop{
			{ID: ids[0], Outcome: signal.Cancelled}, {ID: ids[1], Outcome: signal.Complete},
		}, heard[signal.BackfillStop](ears))
	})

	t.Run("Fault", func(t *testing.T) {
		t.Parallel()
		b := setupUnscheduled(t)
		b.db.Do(t, "ALTER TABLE river_job DISABLE TRIGGER daymill_request_insert")
		ears, configure := listen()
		b.start(t, configure)
		require.Eventually(t, func() bool { return len(heard[worker.Fault](ears)) > 0 }, patience, 20*time.Millisecond)
		require.Contains(t, heard[worker.Fault](ears)[0].Sentence, "daymill_request_insert on public.river_job is disabled")
	})
	t.Run("Request", func(t *testing.T) {
		t.Parallel()
		b, all := setupUnscheduled(t), dates(2)
		ears, configure := listen()
		b.start(t, configure)
		b.request(t, all...)
		b.awaitDone(t)
		var jobsMade []date.Date
		for _, made := range heard[signal.RequestEnqueue](ears) {
			require.Equal(t, jobs.PriorityRequest, made.Priority)
			jobsMade = append(jobsMade, made.Date)
		}
		slices.SortFunc(jobsMade, date.Date.Compare)
		require.Equal(t, all, jobsMade)
		require.Eventually(t, func() bool { return len(heard[signal.RunStop](ears)) == 2 }, patience, 20*time.Millisecond)
	})

	t.Run("Verify", func(t *testing.T) {
		t.Parallel()
		ears, configure := listen()
		b, all := setupComplete(t, 2, configure)
		b.db.Do(t, loseRow, all[1])
		b.verify(t)
		verified := heard[signal.Verify](ears)
		require.Len(t, heard[signal.VerifyStart](ears), 2)
		require.Len(t, verified, 2)
		slices.SortFunc(verified, func(a, b signal.Verify) int { return a.Date.Compare(b.Date) })
		require.Equal(t, "exact", verified[0].Result)
		require.Equal(t, signal.Drifted, verified[1].Result)
		require.Positive(t, verified[1].Drifted)
		require.Greater(t, verified[1].EventsCounted, verified[1].EventsStored)
	})
}
