package ledger_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestReadGauges(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) *pgtest.DB {
		t.Helper()
		return pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "Asia/Kathmandu"})
	}
	read := func(t *testing.T, db *pgtest.DB, statements ...string) ledger.Gauges {
		t.Helper()
		for _, statement := range statements {
			_, err := db.Exec(t.Context(), statement)
			require.NoError(t, err)
		}
		gauges, err := ledger.ReadGauges(t.Context(), db.DB)
		require.NoError(t, err)
		return gauges
	}

	t.Run("Backfills", func(t *testing.T) {
		t.Parallel()
		gauges := read(t, setup(t), `
			INSERT INTO analytics.backfills (state, first_date, last_date) VALUES
			('running', '2026-03-01', '2026-03-03'), ('paused', '2026-03-01', '2026-03-01'), ('complete', '2026-03-01', '2026-03-01')`, `
			INSERT INTO analytics.backfill_dates (backfill_id, metric_date, state) VALUES
			(1, '2026-03-01', 'complete'), (1, '2026-03-02', 'requested'), (1, '2026-03-03', 'waiting'),
			(2, '2026-03-01', 'waiting'), (3, '2026-03-01', 'complete')`)
		require.Equal(t, map[string]int64{"running": 1, "paused": 1}, gauges.Backfills)
		require.EqualValues(t, 3, gauges.BackfillDatesLeft)
	})

	t.Run("Nothing", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, ledger.Gauges{
			Dates: map[string]int64{
				"complete": 0, "running": 0, "requested": 0, "waiting": 0, "retrying": 0, "failed": 0, "cancelled": 0, "stale": 0, "protected": 0,
			},
			Backfills: map[string]int64{"running": 0, "paused": 0},
		}, read(t, setup(t)))
	})

	// A request of a date is due when the date is over and its own instant has come, whichever is later.
	t.Run("Requests", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		gauges := read(t, db, `
			INSERT INTO analytics.rollup_requests (metric_date, due_at) VALUES
			((SELECT analytics.date_of(now())), now() - interval '9 days'), ('2026-03-01', now() + interval '1 hour')`)
		require.EqualValues(t, 2, gauges.OpenRequests)
		require.Zero(t, gauges.OldestDue)
		gauges = read(t, db, `
			INSERT INTO analytics.rollup_requests (metric_date, due_at, resolved_at, resolution) VALUES
			('2026-03-01', now() - interval '5 hours', now(), 'satisfied'), ('2026-03-02', now() - interval '2 hours', NULL, NULL)`)
		require.EqualValues(t, 3, gauges.OpenRequests)
		require.InDelta(t, 2*time.Hour, gauges.OldestDue, float64(time.Minute))
	})

	t.Run("ScheduleAndWorkers", func(t *testing.T) {
		t.Parallel()
		gauges := read(t, setup(t), `
			INSERT INTO daymill.schedules (name, last_due_at, last_run_at, paused_at) VALUES
			('daily_rollup', now(), '2026-03-01 02:00Z', now()), ('prune_ledger', now(), now(), NULL)`, `
			INSERT INTO daymill.workers
			(name, last_seen_at, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower) VALUES
			('alive', now(), 'v1', 1, 1, 1, 1, 1, 1, false), ('dead', now() - interval '3 minutes', 'v1', 1, 1, 1, 1, 1, 1, false)`)
		require.EqualValues(t, 1, gauges.Workers)
		require.True(t, gauges.SchedulePaused)
		require.True(t, gauges.LastSchedule.Equal(time.Date(2026, time.March, 1, 2, 0, 0, 0, time.UTC)))
	})
}
