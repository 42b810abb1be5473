package ui_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/browser"
)

// TestCancelledBackfill: the page of a cancelled backfill says only what it has done.
func TestCancelledBackfill(t *testing.T) {
	t.Parallel()
	s := serve(t, database(t), nil)
	s.db.Do(t, `INSERT INTO analytics.backfills (first_date, last_date, requested_by, state, finished_at)
		VALUES ('2026-03-01', '2026-03-10', 'a', 'cancelled', now())`)
	s.db.Do(t, `INSERT INTO analytics.backfill_dates (backfill_id, metric_date, state)
		SELECT 1, '2026-03-01'::date + i, CASE WHEN i < 4 THEN 'complete' ELSE 'cancelled' END FROM generate_series(0, 9) AS i`)
	body := s.get(t, "/backfills/1").body
	require.Contains(t, body, "4 of 10 dates done, 6 cancelled.")
	require.Contains(t, body, "40 %")
	require.NotContains(t, body, "100 %")
	require.Contains(t, s.get(t, "/backfills").body, "40 %")
}

// TestStateGroups: links to failing and to incomplete dates lead to lists of exactly these.
func TestStateGroups(t *testing.T) {
	t.Parallel()
	s := atMarch(t)
	s.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) SELECT '2025-01-01'::date + i, 'failed', 90 + i, 90 + i FROM generate_series(0, 9) AS i`)
	require.Contains(t, s.get(t, "/").body, `href="/dates?state=failing"`)
	failing := listedDates(s.get(t, "/dates?state=failing").body)
	require.Subset(t, failing, []string{"2025-01-01", "2025-01-02"})
	for _, date := range failing {
		require.Regexp(t, `state-(failed|retrying|cancelled|interrupted)`, s.get(t, "/dates?state=failing&from="+date+"&to="+date).body, date)
	}
	incomplete := s.get(t, "/dates?state=incomplete")
	require.Subset(t, listedDates(incomplete.body), failing)
	require.NotContains(t, incomplete.body, "state-complete")
	a := newAPI(t, s.db, nil)
	require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "GET", "/api/dates?state=bogus", "").status)
	require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/dates?state=failed", "").status)
}

// TestRequestFuture: the page has the same rule as the API and the command line.
func TestRequestFuture(t *testing.T) {
	t.Parallel()
	s := atMarch(t)
	answer := s.post(t, "/dates/2026-03-16/request", "")
	require.Equal(t, http.StatusUnprocessableEntity, answer.status)
	require.Contains(t, answer.body, "2026-03-16 is in the future: today is 2026-03-15.")
	require.Equal(t, http.StatusSeeOther, s.post(t, "/dates/2026-03-15/request", "").status)
}

// TestSilentServer: a live page says since when it has had no answer.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	b := setupCapture(t, 2)
	shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword})
	shown.Go(t, b.URL+"/capture")
	before := shown.Text(t, `//*[@data-time]`)
	require.Regexp(t, `^\d\d:\d\d:\d\d$`, before)
	shown.See(t, `//*[@data-time][.!="`+before+`"]`)
	require.True(t, browser.Evaluate[bool](t, shown, `document.querySelector("[data-silent]").hidden`))
	browser.Evaluate[bool](t, shown, `(console.error = () => {}, true)`) // htmx logs the failure, too.
	b.Close()
	shown.See(t, `//*[@role="alert"][contains(., "No answer since ")]`)
}

// TestSelectsWait: a filter applies only when the user submits it, because each arrow key changes a select.
func TestSelectsWait(t *testing.T) {
	t.Parallel()
	s := serve(t, database(t), nil)
	shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword})
	for _, path := range []string{"/dates", "/jobs", "/verifications", "/audit", "/entities"} {
		shown.Go(t, s.URL+path)
		here := shown.Location(t)
		browser.Evaluate[bool](t, shown, `(() => {
			const select = document.querySelector("main select");
			select.selectedIndex = select.options.length - 1;
			select.dispatchEvent(new Event("change", {bubbles: true}));
			return true;
		})()`)
		require.Equal(t, here, shown.Location(t), path)
		require.NotNil(t, browser.Evaluate[*string](t, shown, `document.querySelector("main select").form.querySelector("button[type=submit]")?.textContent ?? null`), path)
	}
}
