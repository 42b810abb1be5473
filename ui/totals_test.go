package ui_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/browser"
)

func TestTotals(t *testing.T) {
	t.Parallel()
	// rows are the rows of the table, each with its cells.
	rows := func(body string) (all []string) {
		_, table, _ := strings.Cut(body, "<tbody>")
		table, _, _ = strings.Cut(table, "</tbody>")
		for _, row := range regexp.MustCompile(`(?s)<tr>.*?</tr>`).FindAllString(table, -1) {
			all = append(all, strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(row, " ")), " "))
		}
		return all
	}
	const header = "metric_date,events,views_count,clicks_count,saves_count,skips_count,other_counts,rest_count\n"
	setup := func(t *testing.T) *site {
		t.Helper()
		s := atMarch(t)
		s.db.Do(t, "UPDATE analytics.rollup_dates SET events = 100 + (metric_date - '2026-02-20')")
		// A date that is not complete any more keeps what its last completion counted.
		s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'stale' WHERE metric_date = '2026-03-14'")
		return s
	}

	t.Run("Browser", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for _, options := range []browser.Options{{}, {Width: 390}, {NoJavaScript: true}} {
			options.User, options.Password = "admin", adminPassword
			shown := browser.Open(t, options)
			shown.Go(t, s.URL+"/totals?days=30")
			shown.See(t, map[bool]string{false: "svg.chart-wide", true: "svg.chart-narrow"}[options.Width == 390])
			shown.Click(t, `//main//a[text()="90 days"]`)
			shown.See(t, `//main//a[text()="90 days" and @aria-current="true"]`)
		}
	})

	t.Run("CSV", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.db.Do(t, `INSERT INTO analytics.date_types VALUES ('2026-02-20', '{"views": 7}'),
			('2026-02-21', '{"views": 95, "clicks": 3, "saves": 2, "other": {"share": 1}}')`)
		answer := s.get(t, "/totals.csv?from=2026-02-18&to=2026-02-22")
		require.Equal(t, header+"2026-02-20,100,,,,,,\n2026-02-21,101,95,3,2,0,\"{\"\"share\"\":1}\",0\n2026-02-22,102,,,,,,\n", answer.body)
		require.Equal(t, `attachment; filename="daymill-totals-2026-02-18-2026-02-22.csv"`, answer.header.Get("Content-Disposition"))
	})

	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		require.Contains(t, s.get(t, "/totals").body, "No date of this range has been rolled up.")
		require.Equal(t, http.StatusOK, s.get(t, "/totals?from=0001-01-01&to=0001-01-09").status)
		require.Equal(t, header, s.get(t, "/totals.csv").body)
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for query, want := range map[string]string{
			"from=2026-03-02&to=2026-03-01":         "reversed",
			"from=2026-03-02":                       "is not a date",
			"by=year":                               "There is no unit",
			"days=-7":                               "There is no period of &#34;-7&#34; days",
			"from=2024-01-01&to=2026-03-01&by=date": "choose weeks or months",
		} {
			answer := s.get(t, "/totals?"+query)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, query)
			require.Contains(t, answer.body, want, query)
			require.Contains(t, answer.body, `name="from"`, query)
		}
	})

	t.Run("NoEvents", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.db.Do(t, "UPDATE analytics.rollup_dates SET events = 0")
		body := s.get(t, "/totals").body
		require.Contains(t, body, "chart-wide")
		require.NotContains(t, body, "NaN")
	})

	t.Run("Today", func(t *testing.T) {
		t.Parallel()
		require.Contains(t, setup(t).get(t, "/totals").body, "Today so far")
	})

	t.Run("Types", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		// 2026-03-14 has 122 events, and 2026-03-12 to 13 have 120 and 121. A count of types that does not add up is left out.
		s.db.Do(t, `INSERT INTO analytics.date_types VALUES
			('2026-03-11', '{"views": 100, "clicks": 19}'), ('2026-03-12', '{"views": 118, "clicks": 2}'),
			('2026-03-13', '{"views": 100, "other": {"share": 20}, "rest": 1}'), ('2026-03-14', '{"views": 112, "other": {"<b>": 10}}')`)
		body := s.get(t, "/totals?from=2026-03-13&to=2026-03-14&by=date").body
		require.Equal(t, []string{
			"views 212 87.2 % 218 −2.8 %", "clicks 0 0.0 % 21 −100 %", "saves 0 0.0 % 0 –", "skips 0 0.0 % 0 –", "share 20 8.2 % 0 –",
			"&lt;b&gt; 10 4.1 % 0 –", "other event types 1 0.4 % 0 –",
		}, rows(body))
		_, table, _ := strings.Cut(body, `id="by-unit"`)
		require.Equal(t, []string{
			"2026-03-14 122 120 +1.7 % 50.2 % 112 0 0 0 0 10 0", "2026-03-13 121 119 +1.7 % 49.8 % 100 0 0 0 20 0 1",
		}, rows(table))
		require.Contains(t, body, "2026-03-13 (the period before: 119): 121\nviews 100\nshare 20\nother event types 1")
		require.NotContains(t, body, "no counts by type")

		s.db.Do(t, `UPDATE analytics.date_types SET counts = '{"views": 1}' WHERE metric_date = '2026-03-13'`)
		body = s.get(t, "/totals?from=2026-03-13&to=2026-03-14&by=date").body
		require.Contains(t, body, "1 date of this range has no counts by type")
		require.Contains(t, strings.Join(rows(body), "; "), "views 112 46.1 % 218 –")
		require.Contains(t, strings.Join(rows(body), "; "), "not counted by type 121 49.8 %")
	})

	t.Run("Units", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		require.Equal(t, []string{
			"2026-03-14 122 120 +1.7 % 50.2 %", "2026-03-13 121 119 +1.7 % 49.8 %",
		}, rows(s.get(t, "/totals?from=2026-03-13&to=2026-03-14&by=date").body))
		// From Sunday to Saturday, beside the seven days before.
		require.Equal(t, []string{
			"Week of 2026-03-09 (a part of it) 717 675 +6.2 % 86.1 %", "Week of 2026-03-02 (a part of it) 116 109 +6.4 % 13.9 %",
		}, rows(s.get(t, "/totals?from=2026-03-08&to=2026-03-14&by=week").body))
		// The period before has fewer dates that have been counted.
		require.Equal(t, []string{"Week of 2026-02-16 (a part of it) 203 100 – 100.0 %"}, rows(s.get(t, "/totals?from=2026-02-21&to=2026-02-22&by=week").body))
		body := s.get(t, "/totals?from=2026-02-01&to=2026-03-31&by=month").body
		require.Equal(t, []string{"2026-03 1,617 – – 63.3 %", "2026-02 936 – – 36.7 %"}, rows(body))
		require.Contains(t, body, "1 date of this range is not complete")
		require.Contains(t, body, "(the period before: –)")
	})
}

func TestAPITotals(t *testing.T) {
	t.Parallel()
	a := newAPI(t, textDatabase(t, "x"), nil)
	a.db.Do(t, "UPDATE analytics.rollup_dates SET events = 7")
	a.db.Do(t, `INSERT INTO analytics.date_types VALUES ('2026-03-01', '{"views": 4, "other": {"share": 3}}'), ('2026-03-03', '{"views": 4}')`)
	answer := a.call(t, "GET", "/api/totals?from=2026-03-01&to=2026-03-04", "")
	require.JSONEq(t, `{"from": "2026-03-01", "to": "2026-03-04", "events": 14, "incomplete_dates": 0,
		"before": {"from": "2026-02-25", "to": "2026-02-28", "events": 0, "dates": 0}, "totals": [
			{"date": "2026-03-01", "events": 7, "types": {"views": 4, "clicks": 0, "saves": 0, "skips": 0, "other": {"share": 3}, "rest": 0}},
			{"date": "2026-03-03", "events": 7, "types": null}]}`, answer.body)
	require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/totals", "").status)
	require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "GET", "/api/totals?from=2026-03-01", "").status)
}
