package ui_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/browser"
)

// TestFormsKeep checks that a form with a mistake keeps what was entered, and says what is wrong.
func TestFormsKeep(t *testing.T) {
	t.Parallel()
	s := serve(t, textDatabase(t, "a b"), nil)
	for path, keeps := range map[string][]string{
		"/changes?table=orders&key={&op=update":        {`value="orders"`, `value="{"`, `value="update" selected`, "The key is not JSON"},
		"/dates?from=2026-03-05&to=2026-03-01":         {`value="2026-03-05"`, `value="2026-03-01"`, "reversed"},
		"/jobs?from=2026-03-05&to=2026-03-01&q=refuse": {`value="2026-03-05"`, `value="2026-03-01"`, `value="refuse"`, "reversed"},
		"/entity?id=a+b&from=2026-03-05&to=2026-03-01&metric=saves&metric=other:share": {
			`value="a b"`, `value="2026-03-05"`, `value="2026-03-01"`, `value="saves" checked`, `value="other:share" checked`, "reversed",
		},
	} {
		answer := s.get(t, path)
		require.Equal(t, http.StatusUnprocessableEntity, answer.status, path)
		for _, kept := range append(keeps, "</form>", `role="alert"`) {
			require.Contains(t, answer.body, kept, path)
		}
	}
	answer := s.post(t, "/verifications", url.Values{"from": {"2026-03-05"}, "to": {"2026-03-01"}, "repair": {"1"}}.Encode())
	require.Equal(t, http.StatusUnprocessableEntity, answer.status)
	for _, kept := range []string{`value="2026-03-05"`, `value="2026-03-01"`, `name="repair" value="1" checked`, "reversed"} {
		require.Contains(t, answer.body, kept)
	}
	answer = s.post(t, "/verifications", "sample=1e3")
	require.Contains(t, answer.body, `value="1e3"`)
	require.Contains(t, answer.body, "from 1 to 366")
}

// TestDateEnds keeps the page of a date open while its verification and its repair end.
func TestDateEnds(t *testing.T) {
	t.Parallel()
	s := atMarch(t)
	shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword})
	shown.Go(t, s.URL+"/dates/2026-03-02")
	shown.Click(t, `//main//button[text()="Verify"]`)
	shown.See(t, `//main//p[contains(., "verifies 2026-03-02: available")]`)
	s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'stale' WHERE metric_date = '2026-03-02'")
	s.db.Do(t, verifiedSQL, "2026-03-02", "drifted", "[]")
	s.db.Do(t, "UPDATE river_job SET state = 'completed', finalized_at = now() WHERE kind = 'verify_dates'")
	shown.See(t, `//main//span[text()="stale"]`)
	shown.See(t, `//main//h2[text()="Verifications"]`)
	shown.Click(t, `//main//button[contains(., "Repair")]`)
	shown.See(t, `//main//span[text()="requested"]`)
	s.db.Do(t, "UPDATE analytics.rollup_requests SET resolved_at = now(), resolution = 'satisfied' WHERE metric_date = '2026-03-02'")
	s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'complete' WHERE metric_date = '2026-03-02'")
	shown.See(t, `//main//span[text()="complete"]`)
	shown.See(t, `//main//button[contains(., "Roll up again")]`)
}

// TestButtonNames checks that no two buttons of a page have the same name, because a screen reader lists them
// without their context.
func TestButtonNames(t *testing.T) {
	t.Parallel()
	s := atMarch(t)
	s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'failed' WHERE metric_date < '2026-03-02'")
	s.db.Do(t, "INSERT INTO river_queue (name, metadata, updated_at) VALUES ('daymill', '{}', now()), ('daymill_control', '{}', now())")
	shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword})
	for _, path := range []string{"/", "/dates/2026-03-02", "/jobs", "/backfills", "/entities", "/schedule", "/verifications", "/doctor"} {
		shown.Go(t, s.URL+path)
		names := browser.Evaluate[[]string](t, shown, `[...document.querySelectorAll("main button")].map((b) => (b.ariaLabel ?? b.textContent).trim().replace(/\s+/g, " "))`)
		seen := make(map[string]bool)
		for _, name := range names {
			require.NotEmpty(t, name, path)
			require.False(t, seen[name], "%s: two buttons %q", path, name)
			seen[name] = true
		}
	}
}

// TestKeyboard counts the keys from the top of the overview to the button that requests a failed date again.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	s := atMarch(t)
	s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'failed' WHERE metric_date = '2026-03-02'")
	shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword})
	shown.Go(t, s.URL+"/")
	focused := func() string {
		return browser.Evaluate[string](t, shown, `((at) => at.matches("a, button") ? (at.ariaLabel ?? at.textContent).trim().replace(/\s+/g, " ") : "")(document.activeElement)`)
	}
	keys := 0
	press := func(key string) {
		shown.Type(t, key)
		keys++
	}
	for !strings.Contains(focused(), "Try again") {
		press("\t")
		if at := focused(); strings.HasPrefix(at, "Skip ") {
			press("\r")
		}
		require.LessOrEqual(t, keys, 12, focused())
	}
	t.Logf("%d keys", keys)
	shown.Type(t, "\r")
	shown.See(t, `//p[contains(., "Requested")]`)
}

// TestSentTwice checks that a form that is sent twice starts one backfill.
func TestSentTwice(t *testing.T) {
	t.Parallel()
	s := atMarch(t)
	preview := s.get(t, "/backfills?from=2026-03-01&to=2026-03-02&which=all")
	key := regexp.MustCompile(`name="key" value="([^"]+)"`).FindStringSubmatch(preview.body)
	require.NotNil(t, key)
	form := "from=2026-03-01&to=2026-03-02&which=all&key=" + key[1]
	first := s.post(t, "/backfills", form)
	require.Equal(t, http.StatusSeeOther, first.status)
	require.Equal(t, first.header.Get("Location"), s.post(t, "/backfills", form).header.Get("Location"))
	require.EqualValues(t, 1, s.count(t, "SELECT count(*) FROM analytics.backfills"))
	require.Equal(t, http.StatusUnprocessableEntity, s.post(t, "/backfills", strings.Replace(form, "03-02", "03-03", 1)).status)
	require.NotContains(t, s.get(t, "/backfills?from=2026-03-01&to=2026-03-02&which=all").body, key[1])
}
