package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestStatus reads what a person reads first.
func TestStatus(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	exec := func(sql string) {
		_, err := db.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	require.Contains(t, requireOK(t, db.URL, "status"), "No source is set")
	db.RawEvents(t)

	exec("SELECT analytics.enqueue_rollup(analytics.date_of(now()))")
	text := requireOK(t, db.URL, "status")
	require.Contains(t, text, "What was asked for waits until its date is over")
	require.Regexp(t, `waiting +1 date, due from \d{4}-\d\d-\d\d 00:00:00 UTC on`, text)
	require.Regexp(t, "workers +none seen in the last 2 min 0 s", text)
	require.Contains(t, requireOK(t, db.URL, "status", "--json"), `"next_due": "`)

	exec("SELECT analytics.enqueue_rollup('2026-03-01')")
	require.Contains(t, requireOK(t, db.URL, "status"), "Dates are asked for and no worker is alive: start one with `daymill worker`.")

	exec(`INSERT INTO analytics.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower)
		VALUES ('worker.1/4/abcd', 'v1', 2, 1, 1000, 2, 2, 0, false)`)
	text = requireOK(t, db.URL, "status")
	require.Contains(t, text, "Dates are being rolled up.")
	require.Regexp(t, "workers +1 alive: worker.1/4/abcd", text)

	exec("UPDATE analytics.rollup_requests SET resolved_at = now(), resolution = 'satisfied' WHERE metric_date = '2026-03-01'")
	exec("INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) VALUES ('2026-03-01', 'complete', 1, 1)")
	require.Contains(t, requireOK(t, db.URL, "status"), "is complete, or waits until it is over.")
}
