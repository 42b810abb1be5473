package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestBackfillLosses starts backfills over a date that has lost most of its events. Each says so before it starts, as its dry run does.
func TestBackfillLosses(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	db.RawEvents(t)
	for _, d := range []string{"2026-03-01", "2026-03-02"} {
		db.InsertDate(t, date.MustParse(d), 300, 40)
	}
	requireOK(t, db.URL, "rollup", "2026-03-01..2026-03-02", "--pace", "0")
	_, err := db.Exec(t.Context(), "DELETE FROM public.raw_events WHERE created_at >= '2026-03-02 00:00+00' AND id % 3 <> 0")
	require.NoError(t, err)
	startWorker(t, db.URL, "--pace", "0", "--lookback", "0")

	stored := func() (events int64) {
		err := db.QueryRow(t.Context(), `SELECT sum(views_count + clicks_count + saves_count + skips_count
			+ (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(other_counts)))
			FROM analytics.daily_entity_metrics WHERE metric_date = '2026-03-02'`).Scan(&events)
		require.NoError(t, err)
		return events
	}
	awaitComplete := func(id int64) {
		require.Eventually(t, func() bool {
			var state string
			require.NoError(t, db.QueryRow(t.Context(), "SELECT state FROM analytics.backfills WHERE id = $1", id).Scan(&state))
			return state == "complete"
		}, waitFor, tick)
	}
	start := []string{"backfill", "start", "2026-03-01..2026-03-02", "--every-date"}
	const loses = "2026-03-02: 100 events, and its last run counted 300: "
	require.Contains(t, requireOK(t, db.URL, append(start, "--dry-run")...), loses+"it stays unchanged; with --erase the metrics of 200 would be erased\n")
	said := requireOK(t, db.URL, start...)
	require.Contains(t, said, loses+"it stays unchanged; with --erase the metrics of 200 would be erased\nbackfill 1 started: 2 dates")
	require.NotContains(t, said, "2026-03-01: ")
	awaitComplete(1)
	require.EqualValues(t, 300, stored())

	require.Contains(t, requireOK(t, db.URL, append(start, "--erase", "--dry-run")...), loses+"the metrics of 200 would be erased\n")
	require.Contains(t, requireOK(t, db.URL, append(start, "--erase")...), loses+"the metrics of 200 will be erased\nbackfill 2 started: 2 dates")
	awaitComplete(2)
	require.EqualValues(t, 100, stored())
	pgtest.RequireExact(t, db)
}
