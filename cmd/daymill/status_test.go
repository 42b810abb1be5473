package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// statusText returns the output of `daymill status`, whatever its verdict.
func statusText(t *testing.T, url string, args ...string) string {
	t.Helper()
	code, stdout, stderr := command(t.Context(), url, append([]string{"status"}, args...)...)
	require.Contains(t, []int{exitOK, exitFailed}, code, stderr)
	return stdout
}

// TestStatus: the report for people.
func TestStatus(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{})
	// unwell returns the report of a problem, which the exit code also shows.
	unwell := func(want string) string {
		code, text, stderr := command(t.Context(), db.URL, "status")
		require.Equal(t, exitFailed, code, text)
		require.Equal(t, "daymill: something keeps dates from being right: see above\n", stderr)
		require.Equal(t, want, strings.SplitN(text, "\n", 2)[0])
		return text
	}
	unwell("No source of events is set: run `daymill source set`.")

	// An installation that only captures tables needs no source.
	const worker = `INSERT INTO daymill.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower)
		VALUES ('worker.1/4/abcd', 'v1', 2, 1, 1000, 2, 2, 0, false)`
	db.Do(t, worker)
	db.Do(t, "INSERT INTO capture.stream (name) VALUES ('app')")
	require.Contains(t, requireOK(t, db.URL, "status"), "All is well. No source of events is set, so no date is rolled up.")
	require.Contains(t, requireOK(t, db.URL, "doctor"), "note     source        no source of events is set, so no date is rolled up")
	db.Do(t, "DELETE FROM capture.stream")
	db.Do(t, "DELETE FROM daymill.workers")
	db.RawEvents(t)

	db.Do(t, "SELECT analytics.enqueue_rollup(analytics.date_of(now()))")
	const noWorker = "No worker has been seen for two minutes, so nothing is rolled up: start `daymill worker`, or read its log."
	text := unwell(noWorker)
	require.Regexp(t, `waiting +1 date, due from \d{4}-\d\d-\d\d 00:00:00 UTC on`, text)
	require.Regexp(t, "workers +none seen in the last 2 min 0 s", text)
	_, object, _ := command(t.Context(), db.URL, "status", "--json")
	require.Contains(t, object, `"next_due": "`)
	require.Contains(t, object, `"check": "workers",`)

	db.Do(t, "SELECT analytics.enqueue_rollup('2026-03-01')")
	unwell(noWorker)

	db.Do(t, worker)
	text = requireOK(t, db.URL, "status")
	require.Contains(t, text, "Work is in progress: 0 dates being rolled up, 1 waiting.")
	require.Regexp(t, "workers +1 alive: worker.1/4/abcd", text)

	db.Do(t, "UPDATE analytics.rollup_requests SET resolved_at = now(), resolution = 'satisfied' WHERE metric_date = '2026-03-01'")
	db.Do(t, "INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) VALUES ('2026-03-01', 'complete', 1, 1)")
	require.Contains(t, requireOK(t, db.URL, "status"), "All is well: 1 date complete, the last of them 2026-03-01.")

	// Cancelled dates and paused queues are in the verdict.
	db.Do(t, "UPDATE analytics.rollup_dates SET state = 'cancelled'")
	require.Contains(t, requireOK(t, db.URL, "status"), "2026-03-01 was cancelled, and stays so until somebody requests it.")
	db.Do(t, "UPDATE analytics.rollup_dates SET state = 'complete'")
	db.Do(t, "INSERT INTO public.river_queue (name, created_at, updated_at, paused_at) VALUES ('daymill', now(), now(), now())")
	require.Contains(t, requireOK(t, db.URL, "status"), "The queue daymill is paused")
	db.Do(t, "DELETE FROM public.river_queue")
	db.Do(t, "DELETE FROM daymill.workers")
	unwell(noWorker)
	code, text, _ := command(t.Context(), db.URL, "doctor")
	require.Equal(t, exitFailed, code)
	require.Contains(t, text, "failure  health        "+noWorker)
}
