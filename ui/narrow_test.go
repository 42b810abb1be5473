package ui_test

import (
	"bytes"
	"image/png"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/test/browser"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

// troubled is a site with dates that failed, are stale, and were verified.
func troubled(t *testing.T) *site {
	t.Helper()
	s := atMarch(t)
	s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'failed' WHERE metric_date <= '2026-02-25'")
	s.db.Do(t, `UPDATE analytics.rollup_runs SET state = 'failed', error = repeat('could not extend file "base/16384/2619.3": No space left on device ', 4)
		WHERE metric_date <= '2026-02-25'`)
	s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'stale' WHERE metric_date = '2026-03-02'")
	s.db.Do(t, verifiedSQL, "2026-03-02", "drifted", `[{"entity": " 7", "stored": {"views": 9, "other": {"share": 1}}, "counted": {"views": 2, "other": {"share": 1}}}]`)
	return s
}

func TestCalendarDays(t *testing.T) {
	t.Parallel()
	s := troubled(t)
	shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword, Width: 390, Height: 844})
	shown.Go(t, s.URL+"/")
	shown.See(t, `//p[contains(., "No events until the end of January 2026.")]`)
	require.Less(t, browser.Evaluate[float64](t, shown, `document.querySelector(".recent .day-today").getBoundingClientRect().bottom`), 844.0, "today is on the first screen")
	sides := browser.Evaluate[[]float64](t, shown, `[".recent", ".months"].map((at) => document.querySelector(at).getBoundingClientRect()).flatMap((at) => [at.left, at.right])`)
	require.Equal(t, sides[:2], sides[2:], "all months are in line")
	require.Equal(t, "February 2026,March 2026", browser.Evaluate[string](t, shown, `[...new Set([...document.querySelectorAll(".month")]
		.filter((at) => at.checkVisibility()).map((at) => at.ariaLabel))].sort().join()`), "no month that has not begun")
	shown = browser.Open(t, browser.Options{User: "admin", Password: adminPassword})
	shown.Go(t, s.URL+"/")
	cell := func(day string) string {
		return browser.Evaluate[string](t, shown, `document.querySelector(".months a[href='/dates/`+day+`']").innerText.replace(/\s+/g, " ").trim()`)
	}
	require.Eventually(t, func() bool { return cell("2026-02-20") == "20 ✕" }, waitFor, tick, "a sign does not hide the number")
	require.Equal(t, "02 ≠", cell("2026-03-02"))
	require.Equal(t, "04", cell("2026-03-04"))
	require.Equal(t, "Mo Tu We Th Fr Sa Su", browser.Evaluate[string](t, shown, `document.querySelector(".months .weekdays").innerText.replace(/\s+/g, " ").trim()`))
}

// TestNarrow checks that no table has columns off the screen of a phone or of a small laptop.
func TestNarrow(t *testing.T) {
	t.Parallel()
	s := troubled(t)
	s.post(t, "/dates/2026-03-04/request", "x=1")
	s.db.Do(t, `INSERT INTO daymill.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower, followers)
		VALUES ('machine-with-a-long-name/12345/ab12', 'v1', 2, 1, 100000, 4, 3, 86400, true, '[{"number": 1, "problem": "follows a timeline that was abandoned in a failover"},
			{"number": 2, "late": true, "behind": 1234567890, "delay_ns": 93000000000}, {"number": 3}]')`)
	s.db.Do(t, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count)
		SELECT e, d, CASE d WHEN '2026-03-14' THEN 1234567 ELSE 12345 END FROM unnest(ARRAY['2026-03-14', '2026-03-06']::date[]) AS d CROSS JOIN generate_series(70, 72) AS e
		ON CONFLICT (entity_id, metric_date) DO UPDATE SET views_count = excluded.views_count`)
	job := pgtest.Value[int64](t, s.db, `INSERT INTO river_job (kind, args, max_attempts, queue, state, finalized_at)
		VALUES ('rollup_day', '{"date": "2026-03-04"}', 10, 'daymill', 'completed', now()) RETURNING id`)
	s.db.Do(t, "UPDATE analytics.rollup_runs SET job_id = $1, worker = 'machine-with-a-long-name/12345/ab12', events = 12345678, entities = 1234567 WHERE metric_date = '2026-03-04'", job)
	for _, width := range []int{390, 1280} {
		shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword, Width: width})
		for _, path := range []string{
			"/", "/dates", "/dates/2026-02-20", "/dates/2026-03-02", "/dates/2026-03-04", "/jobs", "/verifications", "/audit", "/schedule", "/trends", "/alerts", "/totals",
			"/entities?metric=events&period=7", "/jobs/" + strconv.FormatInt(job, 10), "/backfills", "/backfills/1", "/entity?id=70&from=2026-03-01&to=2026-03-14",
		} {
			shown.Go(t, s.URL+path)
			if strings.HasPrefix(path, "/entities") {
				shown.See(t, `//td[contains(., "1,234,567")]`)
			}
			require.Empty(t, browser.Evaluate[[]string](t, shown, `[...document.querySelectorAll(".scroll")].filter((at) => at.scrollWidth > at.clientWidth + 1)
			.map((at) => at.ariaLabel + " " + at.scrollWidth + " of " + at.clientWidth)`), "%s at %d", path, width)
		}
	}
}

// TestStill checks that the navigation stays where it is from page to page.
func TestStill(t *testing.T) {
	t.Parallel()
	s := troubled(t)
	for _, width := range []int{390, 1280} {
		shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword, Width: width})
		first := ""
		for _, path := range []string{"/", "/dates", "/entities", "/verifications", "/audit"} {
			shown.Go(t, s.URL+path)
			places := browser.Evaluate[string](t, shown, `[...document.querySelectorAll(".top nav a")].map((at) => at.getBoundingClientRect()).map((at) => [at.x, at.y, at.width]).join(" ")`)
			if first == "" {
				first = places
			}
			require.Equal(t, first, places, "%s at %d", path, width)
		}
	}
}

// TestHeader checks that all pages fit into one line of a small laptop, for a user who has logged in and sees all of them.
func TestHeader(t *testing.T) {
	t.Parallel()
	s := serve(t, database(t), func(c *ui.Config) { c.Archive, c.Alerts = &standing.Source{}, &alert.Keeper{} })
	shown := browser.Open(t, browser.Options{Width: 1280})
	shown.Go(t, s.URL+"/help")
	shown.See(t, "#login-name:focus")
	shown.Type(t, "admin\t"+adminPassword+"\r")
	shown.See(t, "//button[text()='Log out']")
	require.Equal(t, []int{16, 1}, browser.Evaluate[[]int](t, shown, `(() => {
		const tops = [...document.querySelectorAll(".top nav a")].map((at) => at.getBoundingClientRect().top);
		return [tops.length, new Set(tops).size];
	})()`))
}

func TestDriftText(t *testing.T) {
	t.Parallel()
	body := troubled(t).get(t, "/dates/2026-03-02").body
	require.Contains(t, body, "views 9 → 2")
	require.NotContains(t, body, "share")
	require.Contains(t, body, "&#34; 7&#34;", "the leading blank is visible")
}

// TestEdges looks at the pixels: a table that fits has no shadow at its right, which would be a grey line. One that does not fit has one.
func TestEdges(t *testing.T) {
	t.Parallel()
	s := troubled(t)
	shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword, Width: 1280})
	shown.Go(t, s.URL+"/dates")
	shadows := func() (dark int) {
		place := browser.Evaluate[[]int](t, shown, `((r) => [r.right, r.top, r.bottom].map(Math.round))(document.querySelector("main .scroll").getBoundingClientRect())`)
		picture, err := png.Decode(bytes.NewReader(shown.Screenshot(t)))
		require.NoError(t, err)
		for y := place[1] + 2; y < place[2]-2; y++ {
			if red, _, _, _ := picture.At(place[0]-2, y).RGBA(); red>>8 < 240 && red>>8 > 150 { // Darker than the panel, lighter than text.
				dark++
			}
		}
		return dark * 100 / (place[2] - place[1])
	}
	require.Less(t, shadows(), 10, "percent of the height; lines between rows are some")
	browser.Evaluate[string](t, shown, `document.querySelector("main .scroll table").style.width = "3000px"`)
	require.Greater(t, shadows(), 50, "percent of the height")
}
