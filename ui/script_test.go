package ui_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/alert"
	"github.com/daymill/daymill/internal/alert/channel"
	"github.com/daymill/daymill/internal/archive/standing"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/test/browser"
	"github.com/daymill/daymill/ui"
)

// helplessScript lists what does nothing or cannot be seen without scripts.
const helplessScript = `(() => {
	const known = "[data-silent], [data-live-toggle]"; // These only report on, and pause, what a script refreshes.
	const say = (what, at) => what + ": " + at.outerHTML.slice(0, 150);
	const all = (selector) => [...document.querySelectorAll(selector)].filter((at) => !at.matches(known));
	const ownForm = (at) => at.form && at.form.hasAttribute("action") && new URL(at.form.getAttribute("action"), location).origin === location.origin;
	return [
		...all("[hidden], [inert], dialog, template").map((at) => say("hidden", at)),
		...all(known).filter((at) => at.checkVisibility()).map((at) => say("needs scripts", at)),
		...all("button, input[type=submit]").filter((at) => at.type !== "submit" || at.disabled || !ownForm(at)).map((at) => say("sends nothing", at)),
		...all("input, select, textarea").filter((at) => !ownForm(at) || !at.name).map((at) => say("is not sent", at)),
		...all("form").filter((at) => ![...at.elements].some((one) => one.type === "submit" && one.checkVisibility())).map((at) => say("cannot be sent", at)),
		...all("a:not([href])").concat(all("a[href='#'], a[href^='javascript:']")).map((at) => say("leads nowhere", at)),
		...all("a[href^='#']").filter((at) => !document.getElementById(at.hash.slice(1))).map((at) => say("leads nowhere", at)),
		...all("[data-hx-post], [hx-post], [data-hx-get]:not([data-live]), [hx-get]:not([data-live]), [onclick], [onchange], [onsubmit]")
			.filter((at) => !at.matches("a[href], form")).map((at) => say("needs scripts", at)),
	];
})()`

// walker uses forms in browsers that run no scripts, and notes which.
type walker struct {
	routes *http.ServeMux
	mu     sync.Mutex
	sent   map[string]bool
	ended  int // walks
}

// walk is one person's way through the pages.
type walk struct {
	*browser.Page

	all  *walker
	base string
}

// begin logs an admin in, as people do.
func (w *walker) begin(t *testing.T, base string) *walk {
	t.Helper()
	step := &walk{Page: browser.Open(t, browser.Options{NoJavaScript: true}), all: w, base: base}
	step.Go(t, base+"/help")
	step.Fill(t, "#login-name", "admin")
	step.Fill(t, "#login-password", adminPassword)
	step.send(t, `//button[.="Log in"]`, `//h1[.="What the words mean"]`)
	return step
}

// at loads a page.
func (w *walk) at(t *testing.T, path string) {
	t.Helper()
	w.Go(t, w.base+path)
}

// send clicks a button, notes where its form goes, and waits for what the next page shows.
func (w *walk) send(t *testing.T, button, shows string) {
	t.Helper()
	w.See(t, button)
	form := browser.Evaluate[[]string](t, w.Page, `((at) => [at.form.getAttribute("method")?.toUpperCase() ?? "GET", new URL(at.form.getAttribute("action"), location).pathname])(
		document.evaluate(`+"`"+button+"`"+`, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue)`)
	_, pattern := w.all.routes.Handler(httptest.NewRequestWithContext(t.Context(), form[0], form[1], http.NoBody))
	browser.Evaluate[bool](t, w.Page, `document.querySelectorAll("h1, [role=status]").forEach((at) => at.remove()) ?? true`) // What is seen next is new.
	w.Click(t, button)
	w.See(t, shows)
	require.Empty(t, browser.Evaluate[[]string](t, w.Page, helplessScript), button)
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	w.all.sent[pattern] = true
}

// told clicks a button, and waits for a notice.
func (w *walk) told(t *testing.T, button, notice string) {
	t.Helper()
	w.send(t, button, `//*[@role="status"][contains(., "`+notice+`")]`)
}

// TestWithoutScripts uses every page and every form in a browser that runs no scripts.
func TestWithoutScripts(t *testing.T) {
	t.Parallel()
	all := &walker{routes: http.NewServeMux(), sent: make(map[string]bool)}
	var forms, sent []string
	for _, r := range append(routes(), route{"POST", "/login", nil}, route{"POST", "/logout", nil}) {
		if r.method == http.MethodPost && !strings.HasPrefix(r.path, "/api/") {
			all.routes.HandleFunc(r.method+" "+r.path, func(http.ResponseWriter, *http.Request) {})
			forms = append(forms, r.method+" "+r.path)
		}
	}
	walks := map[string]func(t *testing.T, all *walker){
		"Backfills": walkBackfills, "Capture": walkCapture, "Dates": walkDates, "Jobs": walkJobs, "Letters": walkLetters, "Others": walkOthers, "Views": walkViews,
	}
	t.Run("Forms", func(t *testing.T) {
		t.Parallel()
		t.Cleanup(func() { // When all walks have ended, unless -run has left some out.
			if all.ended != len(walks) {
				return
			}
			for pattern := range all.sent {
				if strings.HasPrefix(pattern, http.MethodPost) {
					sent = append(sent, pattern)
				}
			}
			slices.Sort(forms)
			slices.Sort(sent)
			require.Equal(t, forms, sent, "forms that nobody has used without scripts")
		})
		for name, use := range walks {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				use(t, all)
				all.mu.Lock()
				defer all.mu.Unlock()
				all.ended++
			})
		}
	})
	t.Run("Pages", walkPages)
}

// walkPages loads every page of a site that has something of everything.
func walkPages(t *testing.T) {
	t.Parallel()
	s, _ := hostileSite(t, entity.Text)
	shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword, NoJavaScript: true})
	looked := 0
	for _, r := range append(routes(), route{"GET", "/login", nil}, route{"GET", "/nowhere", nil}) {
		if r.method != "GET" || strings.HasPrefix(r.path, "/api/") || strings.HasSuffix(r.path, ".csv") || strings.HasSuffix(r.path, ".yaml") {
			continue
		}
		path, rest := r.address(r.values)
		addresses := []string{path}
		if len(rest) > 0 {
			addresses = append(addresses, path+"?"+rest.Encode())
		}
		for _, address := range addresses {
			shown.Go(t, s.URL+address)
			require.Equal(t, 1, browser.Evaluate[int](t, shown, `document.querySelectorAll("h1").length`), address)
			require.NotZero(t, browser.Evaluate[int](t, shown, `document.querySelector("main").innerText.length`), address)
			require.Empty(t, browser.Evaluate[[]string](t, shown, helplessScript), address)
			looked++
		}
	}
	require.Greater(t, looked, 40)
}

func walkBackfills(t *testing.T, all *walker) {
	t.Helper()
	w := all.begin(t, atMarch(t).URL)
	w.at(t, "/backfills")
	w.Fill(t, "#from", "2026-03-01")
	w.Fill(t, "#to", "2026-03-03")
	w.Fill(t, "#which", "all")
	w.send(t, `//main//button[.="Preview"]`, `//h3[contains(., "Preview: 2026-03-01 to 2026-03-03")]`)
	w.told(t, `//main//button[.="Start backfill"]`, "Started.")
	w.told(t, `//main//button[.="Pause"]`, "Paused.")
	w.told(t, `//main//button[.="Resume"]`, "Resumed.")
	w.Click(t, `//main//a[.="Cancel…"]`)
	w.told(t, `//main//button[.="Cancel the backfill"]`, "Cancelled.")
	w.send(t, `//button[.="Log out"]`, `//h1[.="Log in"]`)
}

func walkCapture(t *testing.T, all *walker) {
	t.Helper()
	b := setupCapture(t, 60)
	b.db.Do(t, `INSERT INTO capture.snapshot (stream_id, schema_name, table_name, state)
		SELECT id, 'public', 'orders', 'waiting' FROM capture.stream`)
	w := all.begin(t, b.URL)
	w.at(t, "/capture")
	w.Fill(t, `//textarea[@name="tables"]`, "public.orders\npublic.customers")
	w.told(t, `//main//button[.="Save"]`, "Saved")
	for _, one := range [][2]string{{"Pause", "Paused."}, {"Resume", "Resumed."}, {"Begin again", "It begins again."}, {"Cancel", "Cancelled."}} {
		w.told(t, `//main//button[starts-with(normalize-space(.), "`+one[0]+`") and contains(., "public.orders")]`, one[1])
	}
	w.at(t, "/consumers")
	w.Fill(t, "#sink-name", "hook")
	w.Fill(t, "#sink-url", "$HOOK_URL")
	w.told(t, `//main//button[.="Add sink"]`, "Added")
	w.at(t, "/consumers/events")
	w.told(t, `//main//button[.="Pause"]`, "Paused.")
	w.told(t, `//main//button[.="Resume"]`, "Resumed.")
	w.told(t, `//main//button[.="Snapshot"]`, "Requested")
	w.Fill(t, "#to", "7")
	w.send(t, `//main//button[.="Rewind…"]`, `//main//button[.="Continue after position 7"]`)
	w.told(t, `//main//button[.="Continue after position 7"]`, "Rewound")
	w.at(t, "/changes")
	w.Fill(t, `//main//input[@name="key"]`, "7")
	w.send(t, `//main//button[.="Filter"]`, `//h1`)
}

func walkDates(t *testing.T, all *walker) {
	t.Helper()
	s := atMarch(t)
	s.db.Do(t, failSQL, "2026-02-20", "it broke")
	s.db.Do(t, failSQL, "2026-02-21", "it broke")
	s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'stale' WHERE metric_date = '2026-03-02'")
	s.db.Do(t, verifiedSQL, "2026-03-02", "drifted", `[{"entity": "7", "stored": {"views": 9}, "counted": {"views": 2}}]`)
	w := all.begin(t, s.URL)
	w.at(t, "/")
	w.told(t, `(//main//button[starts-with(normalize-space(.), "Try again")])[1]`, "Requested")
	w.at(t, "/attention")
	w.told(t, `(//main//button[@value="all"])[1]`, "Requested")
	w.at(t, "/dates/2026-03-04")
	w.told(t, `//main//form[contains(@action, "/request")]//button`, "Requested")
	w.at(t, "/dates/2026-03-06")
	w.told(t, `//main//button[.="Verify"]`, "Requested: a worker verifies")
	w.at(t, "/dates/2026-03-02")
	w.told(t, `//main//button[contains(., "Repair")]`, "Requested")
	w.at(t, "/verifications")
	w.Fill(t, "#verify-from", "2026-03-05")
	w.told(t, `//main//button[.="Verify"]`, "Requested: a worker verifies")
	w.at(t, "/verifications")
	w.Fill(t, `//main//select[@name="result"]`, "drifted")
	w.send(t, `//main//button[.="Filter"]`, `//h1`)
	w.See(t, `//main//a[.="2026-03-02"]`)
	w.at(t, "/dates")
	w.Fill(t, `//main//select[@name="state"]`, "requested")
	w.send(t, `//main//button[.="Show"]`, `//h1[.="Dates"]`)
	w.See(t, `//main//a[.="2026-03-04"]`)
}

func walkJobs(t *testing.T, all *walker) {
	t.Helper()
	b := setupJobs(t)
	one, other := b.insert(t, "2026-03-01", "discarded"), b.insert(t, "2026-03-02", "discarded")
	w := all.begin(t, b.URL)
	w.at(t, "/jobs?state=discarded")
	w.Click(t, `//main//a[contains(., "Retry")]`)
	w.send(t, `//main//button[contains(., "Retry 2 jobs")]`, `//main//strong[contains(., "2 jobs retried")]`)
	require.Equal(t, []string{"available", "available"}, []string{b.state(t, one), b.state(t, other)})
	w.at(t, "/jobs?state=available")
	w.Click(t, `//main//tbody//a[1]`)
	w.told(t, `//main//button[.="Cancel"]`, "Cancelled.")
	w.told(t, `//main//button[.="Retry"]`, "Retried")
}

func walkLetters(t *testing.T, all *walker) {
	t.Helper()
	b := setupCapture(t, 60)
	b.letters(t, 20)
	w := all.begin(t, b.URL)
	w.at(t, "/deadletters")
	w.Click(t, `//main//a[contains(., "it answered 400")]`)
	w.told(t, `//main//button[.="Replay all"]`, "Requested")
	w.at(t, "/deadletters/events?state=refused")
	w.Click(t, `(//main//input[@name="position"])[1]`)
	w.send(t, `//main//button[.="Discard…"]`, `//main//button[.="Discard"]`)
	w.told(t, `//main//button[.="Discard"]`, "Discarded.")
	w.at(t, "/deadletters/events/6")
	w.told(t, `//main//button[.="Replay its key"]`, "Requested")
	w.at(t, "/deadletters/events/10")
	w.send(t, `//main//button[.="Discard…"]`, `//main//button[.="Discard"]`)
	w.told(t, `//main//button[.="Discard"]`, "Discarded.")
}

func walkOthers(t *testing.T, all *walker) {
	t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	place, err := store.Directory(t.TempDir())
	require.NoError(t, err)
	archived(t, place)
	s := serve(t, database(t), func(c *ui.Config) {
		c.Archive = &standing.Source{Store: place}
		c.Alerts = &alert.Keeper{DB: c.DB, Env: channel.Environment{Clock: pace.SystemClock{}, Lookup: func(string) (string, bool) { return receiver.URL, true }}}
	})
	s.db.Do(t, workerSQL)
	s.db.Do(t, "INSERT INTO river_queue (name, metadata, updated_at) VALUES ('daymill', '{}', now())")
	s.db.Do(t, `INSERT INTO daymill.alert_channels (name, kind, settings) VALUES ('ops', 'slack', '{"url": "$OPS", "allow_private": true}')`)
	w := all.begin(t, s.URL)
	w.at(t, "/alerts")
	w.told(t, `//main//button[starts-with(normalize-space(.), "Test")]`, "Sent")
	w.at(t, "/archive")
	w.told(t, `//main//button[.="Make a base"]`, "Requested")
	w.told(t, `//main//button[.="Prove it"]`, "Requested")
	w.at(t, "/schedule")
	for _, one := range [][2]string{
		{"Run now daily_rollup", "Requested"},
		{"Pause daily_rollup", "Paused."},
		{"Resume daily_rollup", "Resumed."},
		{"Pause the queue daymill", "Paused."},
		{"Resume the queue daymill", "Resumed."},
	} {
		w.told(t, `(//main//button[starts-with(normalize-space(.), "`+one[0]+`")])[1]`, one[1])
	}
	w.at(t, "/doctor")
	w.send(t, `//main//button[.="Look again"]`, `//h1[.="Doctor"]`)
}

func walkViews(t *testing.T, all *walker) {
	t.Helper()
	b := setupBuilder(t)
	w := all.begin(t, b.URL)
	w.at(t, "/definition")
	w.Fill(t, `//textarea[@id="text"]`, "name: staff\nschedule: {}\nsearch: {columns: [name]}\ntables:\n  - {table: people, columns: [id, name]}")
	w.told(t, `//main//button[.="Show what applying it would do"]`, "create staff")
	w.told(t, `//main//button[.="Apply"]`, "Applied")
	b.built(t, "staff")
	w.at(t, "/views/staff")
	w.told(t, `//main//button[.="Refresh all rows"]`, "Requested")
	b.work(t)
	w.Fill(t, "#keys", "1")
	w.told(t, `//main//button[.="Refresh these keys"]`, "Requested")
	b.work(t)
	w.told(t, `//main//button[.="Verify"]`, "Requested")
	b.work(t)
	w.told(t, `//main//button[.="Verify and repair"]`, "Requested")
	b.work(t)
	w.told(t, `//main//button[.="Pause"]`, "Paused.")
	w.told(t, `//main//button[.="Resume"]`, "Resumed.")
	w.Fill(t, `//main//input[@name="q"]`, "ann")
	w.send(t, `//main//button[.="Search"]`, `//main//td[.="ann"]`)
	b.db.Do(t, "ALTER TABLE public.people ADD COLUMN age integer, ADD COLUMN town text")
	require.NoError(t, b.engine.Maintain(t.Context()))
	w.at(t, "/views/staff")
	w.told(t, `(//main//button[starts-with(normalize-space(.), "Reject entry")])[1]`, "Rejected")
	w.told(t, `(//main//button[starts-with(normalize-space(.), "Accept entry")])[1]`, "Accepted")
	b.built(t, "staff")
	w.at(t, "/views/staff")
	w.told(t, `//main//button[.="Rebuild"]`, "Requested")
	w.send(t, `//main//button[.="Remove…"]`, `//main//button[.="Remove the view"]`)
	w.told(t, `//main//button[.="Remove the view"]`, "Removed.")
	w.at(t, "/builder")
	w.Fill(t, "#name", "order_report")
	w.Fill(t, "#add", "app/public/orders")
	w.send(t, `//main//button[.="Add the table"]`, `//h2[.="public.orders"]`)
	w.send(t, `//main//button[.="Show the SQL and the first rows"]`, `//main//pre`)
	w.told(t, `//main//button[.="Create the view"]`, "Applied")
}
