package ui_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/browser"
)

// groups are the titles of what needs attention.
func groups(body string) (titles []string) {
	for _, found := range regexp.MustCompile(`<h2 id="group-[0-9a-f]+">(.*?)</h2>`).FindAllStringSubmatch(body, -1) {
		titles = append(titles, found[1])
	}
	return titles
}

func TestAttention(t *testing.T) {
	t.Parallel()

	setup := func(t *testing.T) *site {
		t.Helper()
		s := atMarch(t)
		for i, date := range []string{"2026-02-20", "2026-02-21", "2026-02-22", "2026-02-23", "2026-02-24"} {
			s.db.Do(t, failSQL, date, fmt.Sprintf(`could not extend file "base/%d": No space left on device`, i))
		}
		s.db.Do(t, failSQL, "2026-02-26", "it broke")
		s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'stale' WHERE metric_date IN ('2026-03-02', '2026-03-03')")
		for date, counted := range map[string]int{"2026-03-02": 12345, "2026-03-03": 11111} {
			s.db.Do(t, verifiedSQL, date, "drifted", "[]")
			s.db.Do(t, fmt.Sprintf("UPDATE analytics.verifications SET events_recorded = 12345, events_counted = %d WHERE metric_date = $1", counted), date)
		}
		s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'protected' WHERE metric_date = '2026-03-05'")
		return s
	}
	requested := func(t *testing.T, s *site) string {
		t.Helper()
		return s.text(t, `SELECT coalesce(string_agg(concat_ws(' ', metric_date, requested_by, may_lose), ', ' ORDER BY metric_date), '')
			FROM analytics.rollup_requests WHERE requested_via = 'web'`)
	}

	t.Run("All", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword})
		shown.Go(t, s.URL+"/attention")
		shown.Click(t, `//section[.//h2[starts-with(., "5 dates failed")]]//button[@value="all"]`)
		shown.See(t, `//p[contains(., "Requested")]`)
		require.Equal(t, "2026-02-20 admin none, 2026-02-21 admin none, 2026-02-22 admin none, 2026-02-23 admin none, 2026-02-24 admin none", requested(t, s))
		require.NotContains(t, s.get(t, "/attention").body, "5 dates failed")
	})

	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		require.Contains(t, atMarch(t).get(t, "/attention").body, "Nothing needs attention.")
	})

	t.Run("Groups", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		body := s.get(t, "/attention").body
		require.Equal(t, []string{
			"5 dates failed after all attempts", "1 date failed after all attempts", "1 date drifted",
			"1 date with fewer events than the last run counted", "1 date protected",
		}, groups(body))
		require.Contains(t, body, `data-label="Events lost">1,234</td>`)
		require.Contains(t, s.get(t, "/").body, `href="/attention"`)
	})

	t.Run("Refused", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		ids := regexp.MustCompile(`<h2 id="group-([0-9a-f]+)">`).FindAllStringSubmatch(s.get(t, "/attention").body, -1)
		for form, want := range map[string]string{
			"group=" + ids[0][1] + "&which=ticked":                 "Tick the dates first",
			"group=" + ids[0][1] + "&which=ticked&date=2026-03-07": "Tick the dates first",
			"group=" + ids[3][1] + "&which=all":                    "one by one",
			"group=" + ids[4][1] + "&which=all":                    "one by one",
			"group=x&which=all":                                    "has no dates any more",
		} {
			answer := s.post(t, "/attention", form)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, form)
			require.Contains(t, answer.body, want, form)
		}
		require.Empty(t, requested(t, s))
		require.Equal(t, http.StatusForbidden, s.do(t, s.request(t, "viewer", http.MethodPost, "/attention", "group="+ids[0][1]+"&which=all")).status)
		require.NotContains(t, s.do(t, s.request(t, "viewer", http.MethodGet, "/attention", "")).body, "<form method=\"post\"")
	})

	t.Run("Sort", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.db.Do(t, "UPDATE analytics.rollup_dates SET events = 7 WHERE metric_date = '2026-02-22'")
		first := func(sort string) string {
			return listedDates(s.get(t, "/attention?sort="+url.QueryEscape(sort)).body)[0]
		}
		require.Equal(t, "2026-02-24", first("-date"))
		require.Equal(t, "2026-02-20", first("date"))
		require.Equal(t, "2026-02-22", first("events"))
		require.Contains(t, s.get(t, "/attention?sort=events").body, `aria-sort="ascending"`)
		require.Equal(t, http.StatusUnprocessableEntity, s.get(t, "/attention?sort=bogus").status)
	})

	t.Run("Ticked", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword, NoJavaScript: true})
		shown.Go(t, s.URL+"/attention")
		shown.Click(t, `input[value="2026-02-21"]`)
		shown.Click(t, `input[value="2026-02-23"]`)
		shown.Click(t, `//section[.//h2[starts-with(., "5 dates failed")]]//button[@value="ticked"]`)
		shown.See(t, `//p[contains(., "Requested")]`)
		require.Equal(t, "2026-02-21 admin none, 2026-02-23 admin none", requested(t, s))
	})
}
