package ledger_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/test/promtest"
)

func TestGauges(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) *pgtest.DB {
		t.Helper()
		return pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "Asia/Kathmandu"})
	}
	read := func(t *testing.T, db *pgtest.DB, statements ...string) map[string]float64 {
		t.Helper()
		for _, statement := range statements {
			_, err := db.Exec(t.Context(), statement)
			require.NoError(t, err)
		}
		return promtest.Read(t, ledger.Gauges(db.DB))
	}

	t.Run("Backfills", func(t *testing.T) {
		t.Parallel()
		gauges := read(t, setup(t), `
			INSERT INTO analytics.backfills (state, first_date, last_date) VALUES
			('running', '2026-03-01', '2026-03-03'), ('paused', '2026-03-01', '2026-03-01'), ('complete', '2026-03-01', '2026-03-01')`, `
			INSERT INTO analytics.backfill_dates (backfill_id, metric_date, state) VALUES
			(1, '2026-03-01', 'complete'), (1, '2026-03-02', 'requested'), (1, '2026-03-03', 'waiting'),
			(2, '2026-03-01', 'waiting'), (3, '2026-03-01', 'complete')`)
		require.InDelta(t, 1, gauges["daymill_open_backfills running"], 0)
		require.InDelta(t, 1, gauges["daymill_open_backfills paused"], 0)
		require.InDelta(t, 3, gauges["daymill_open_backfill_dates"], 0)
	})

	t.Run("Nothing", func(t *testing.T) {
		t.Parallel()
		want := map[string]float64{
			"daymill_open_requests": 0, "daymill_oldest_due_request_age_seconds": 0, "daymill_open_backfills running": 0,
			"daymill_open_backfills paused": 0, "daymill_open_backfill_dates": 0, "daymill_daily_job_paused": 0,
		}
		for _, state := range []string{"complete", "running", "requested", "waiting", "retrying", "failed", "cancelled", "stale", "protected"} {
			want["daymill_dates "+state] = 0
		}
		require.Equal(t, want, read(t, setup(t)))
	})

	// A request is due when its date is over and its own due time has come, whichever is later.
	t.Run("Requests", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		gauges := read(t, db, `
			INSERT INTO analytics.rollup_requests (metric_date, due_at) VALUES
			((SELECT analytics.date_of(now())), now() - interval '9 days'), ('2026-03-01', now() + interval '1 hour')`)
		require.InDelta(t, 2, gauges["daymill_open_requests"], 0)
		require.Zero(t, gauges["daymill_oldest_due_request_age_seconds"])
		gauges = read(t, db, `
			INSERT INTO analytics.rollup_requests (metric_date, due_at, resolved_at, resolution) VALUES
			('2026-03-01', now() - interval '5 hours', now(), 'satisfied'), ('2026-03-02', now() - interval '2 hours', NULL, NULL)`)
		require.InDelta(t, 3, gauges["daymill_open_requests"], 0)
		require.InDelta(t, 2*60*60, gauges["daymill_oldest_due_request_age_seconds"], 60)
	})

	t.Run("Schedule", func(t *testing.T) {
		t.Parallel()
		gauges := read(t, setup(t), `
			INSERT INTO daymill.schedules (name, last_due_at, last_run_at, paused_at) VALUES
			('daily_rollup', now(), '2026-03-01 02:00Z', now()), ('prune_ledger', now(), now(), NULL)`)
		require.InDelta(t, 1, gauges["daymill_daily_job_paused"], 0)
		require.InDelta(t, float64(time.Date(2026, time.March, 1, 2, 0, 0, 0, time.UTC).Unix()), gauges["daymill_daily_job_last_run_timestamp_seconds"], 0)
	})
}
