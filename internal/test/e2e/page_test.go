package e2e_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/browser"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// Passwords of the pages.
const (
	adminPassword  = "correct horse"
	viewerPassword = "battery staple"
)

// pageBundle runs `daymill serve` over the events of Deskdrop.
type pageBundle struct {
	db     *pgtest.DB
	binary string
	url    string
	entity string // path of the page of an entity with metrics
}

// servePages installs Daymill, imports the log, and serves the pages.
func servePages(t *testing.T, binary string, log pgtest.Log) *pageBundle {
	t.Helper()
	b := &pageBundle{db: pgtest.Empty(t), binary: binary}
	b.run(t, "migrate", "--entity-type", "bigint", "--timezone", "America/Sao_Paulo")
	b.run(t, "source", "create")
	b.run(t, append([]string{"import", log.Path}, pgtest.ArticlesImport()...)...)

	port, err := pgserver.FreePort()
	require.NoError(t, err)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p := &process{done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), b.binary, "serve", "--database-url", b.db.URL,
		"--pace", "0", "--lookback", "0", "--listen", address)
	p.cmd.Env = append(environment(), "DAYMILL_ADMIN_PASSWORD="+adminPassword, "DAYMILL_VIEWER_PASSWORD="+viewerPassword)
	p.cmd.SysProcAttr, p.cmd.Stdout, p.cmd.Stderr = attributes(), &p.log, &p.log
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // How it ended is in its state.
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill(t)
		if t.Failed() {
			t.Logf("serve wrote:\n%s", p.log.String())
		}
	})
	b.url = "http://" + address
	require.Eventually(t, func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/readyz", nil)
		require.NoError(t, err)
		answer, err := http.DefaultClient.Do(request)
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	}, patience, 20*time.Millisecond)
	b.awaitQuiet(t)
	require.NoError(t, b.db.QueryRow(t.Context(), `SELECT '/entity?id=' || entity_id FROM analytics.daily_entity_metrics
		GROUP BY entity_id ORDER BY count(*) DESC LIMIT 1`).Scan(&b.entity))
	return b
}

func (b *pageBundle) run(t *testing.T, arguments ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.binary, append(arguments, "--database-url", b.db.URL)...)
	cmd.Env = environment()
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
}

func (b *pageBundle) awaitQuiet(t *testing.T) {
	t.Helper()
	b.db.Wait(t, "NOT EXISTS (SELECT FROM analytics.rollup_requests WHERE resolved_at IS NULL)")
}

// open opens a page as a user.
func (b *pageBundle) open(t *testing.T, options browser.Options) *browser.Page {
	t.Helper()
	if options.User == "" {
		options.User = "admin"
	}
	options.Password = map[string]string{"admin": adminPassword, "viewer": viewerPassword}[options.User]
	page := browser.Open(t, options)
	page.Go(t, b.url+"/")
	page.See(t, "h1")
	return page
}

// failed makes a date fail after all attempts.
func (b *pageBundle) failed(t *testing.T, date string) {
	t.Helper()
	b.db.Do(t, `
		CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the disk is on fire'; END $$;
		CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON analytics.daily_entity_metrics
		FOR EACH STATEMENT EXECUTE FUNCTION public.refuse()`)
	b.db.Do(t, fmt.Sprintf(`INSERT INTO public.raw_events (entity_id, event_type, created_at) VALUES (1, 'view', timestamptz '%s 12:00 America/Sao_Paulo')`, date))
	b.db.Do(t, fmt.Sprintf("SELECT analytics.enqueue_rollup('%s')", date))
	b.db.Wait(t, "EXISTS (SELECT FROM river_job WHERE kind = 'rollup_day' AND state = 'retryable')")
	b.db.Do(t, "UPDATE river_job SET max_attempts = attempt + 1, state = 'available', scheduled_at = now() WHERE kind = 'rollup_day' AND state = 'retryable'")
	b.db.Wait(t, fmt.Sprintf("EXISTS (SELECT FROM daymill.jobs WHERE state = 'discarded' AND metric_date = '%s')", date))
	b.db.Do(t, "DROP TRIGGER refuse ON analytics.daily_entity_metrics; DROP FUNCTION public.refuse()")
}

// TestPages uses the pages as people do, in a real browser.
func TestPages(t *testing.T) {
	t.Parallel()
	binary := build(t)
	for _, log := range pgtest.Articles(t) {
		t.Run(log.Name, func(t *testing.T) {
			t.Parallel()
			b := servePages(t, binary, log)
			if log.Name == pgtest.Made {
				testPages(t, b)
				return
			}
			page := b.open(t, browser.Options{}) // A real log has the same pages with other numbers.
			b.testBackfill(t, page, false)
			b.testChart(t, page)
			b.testVerify(t)
		})
	}
}

func testPages(t *testing.T, b *pageBundle) {
	t.Helper()

	// The same flows with and without JavaScript.
	for name, options := range map[string]browser.Options{"JavaScript": {}, "NoJavaScript": {NoJavaScript: true}} {
		t.Run(name, func(t *testing.T) {
			page := b.open(t, options)
			t.Run("Backfill", func(t *testing.T) { b.testBackfill(t, page, options.NoJavaScript) })
			t.Run("Chart", func(t *testing.T) { b.testChart(t, page) })
			t.Run("Failed", func(t *testing.T) {
				b.testFailed(t, page, map[bool]string{false: "2016-05-04", true: "2016-05-05"}[options.NoJavaScript])
			})
			t.Run("PauseAndCancel", func(t *testing.T) { b.testPauseAndCancel(t, page) })
			t.Run("RetryInBulk", func(t *testing.T) { b.testRetryInBulk(t, page) })
		})
	}
	t.Run("Verify", b.testVerify)
	t.Run("Accessible", b.testAccessible)
	t.Run("Viewer", b.testViewer)
}

// testBackfill starts a backfill of the year from the form and watches it.
func (b *pageBundle) testBackfill(t *testing.T, page *browser.Page, reload bool) {
	page.Click(t, `//nav//a[text()="Backfills"]`)
	page.See(t, "#from")
	page.Fill(t, "#from", "2016-03-13")
	page.Fill(t, "#to", "2017-02-28")
	page.Fill(t, "#which", "all")
	page.Click(t, `//button[text()="Preview"]`)
	page.See(t, `//h3[contains(text(), "Preview: 2016-03-13 to 2017-02-28")]`)
	page.Click(t, `//button[text()="Start backfill"]`)
	page.See(t, `//p[contains(text(), "Started.")]`)
	if reload { // Without JavaScript, a page changes only when it is loaded again.
		b.db.Wait(t, "NOT EXISTS (SELECT FROM analytics.backfills WHERE state = 'running')")
		page.Go(t, page.Location(t))
	}
	page.See(t, `//*[@id="progress"]//span[contains(text(), "353 of 353 dates done")]`)
	page.See(t, `//*[@id="progress"]//span[text()="100 %"]`)
	page.See(t, `//*[@id="progress"]//span[text()="complete"]`)
}

// testPauseAndCancel pauses, resumes and cancels a backfill that would take a long time.
func (b *pageBundle) testPauseAndCancel(t *testing.T, page *browser.Page) {
	page.Go(t, b.url+"/backfills?from=2016-04-01&to=2016-04-30&which=all&pause=3600")
	page.Click(t, `//button[text()="Start backfill"]`)
	page.Click(t, `//main//button[text()="Pause"]`)
	page.See(t, `//p[contains(text(), "Paused.")]`)
	page.See(t, `//*[@id="progress"]//span[text()="paused"]`)
	page.Click(t, `//main//button[text()="Resume"]`)
	page.See(t, `//*[@id="progress"]//span[text()="running"]`)
	page.Click(t, `//main//a[text()="Cancel…"]`)
	page.Click(t, `//main//button[text()="Cancel the backfill"]`)
	page.See(t, `//*[@id="progress"]//span[text()="cancelled"]`)
	b.awaitQuiet(t)
}

// testFailed finds a failed date in the calendar, sees why it failed, and requests it again.
func (b *pageBundle) testFailed(t *testing.T, page *browser.Page, date string) {
	b.failed(t, date)
	page.Go(t, b.url+"/?year=2016")
	page.Click(t, fmt.Sprintf(`a[href^="/dates/%s"]`, date))
	page.See(t, `//main//*[contains(text(), "the disk is on fire")]`)
	page.Click(t, `//main//button[contains(., "again")]`)
	page.See(t, `//p[contains(text(), "Requested")]`)
	b.awaitQuiet(t)
	page.Go(t, b.url+"/dates/"+date)
	page.See(t, `//main//span[text()="complete"]`)
}

// testChart finds an entity, reads its chart, and downloads the numbers.
func (b *pageBundle) testChart(t *testing.T, page *browser.Page) {
	page.Go(t, b.url+"/entities")
	page.Fill(t, `main input[name="id"]`, strings.TrimPrefix(b.entity, "/entity?id="))
	page.Click(t, `//main//button[text()="Find"]`)
	page.Click(t, `//main//a[contains(@href, "from=2016") or contains(@href, "from=2017")]`) // When it had events.
	page.See(t, `svg.chart-wide`)
	download := browser.Evaluate[string](t, page, `Array.from(document.querySelectorAll("main a")).find((a) => a.textContent.includes("CSV")).href`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, download, nil)
	require.NoError(t, err)
	request.SetBasicAuth("admin", adminPassword)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Contains(t, answer.Header.Get("Content-Disposition"), "attachment")
	rows, err := csv.NewReader(answer.Body).ReadAll()
	require.NoError(t, err)
	require.Greater(t, len(rows), 1)
}

// testVerify verifies a date whose metrics somebody has changed, sees which entities differ, and leaves the date stale.
func (b *pageBundle) testVerify(t *testing.T) {
	b.db.Do(t, "UPDATE analytics.daily_entity_metrics SET skips_count = skips_count + 1 WHERE metric_date = '2016-05-04'")
	page := b.open(t, browser.Options{})
	page.Click(t, `//nav//a[text()="Verifications"]`)
	page.Fill(t, "#verify-from", "2016-05-04")
	page.Click(t, `//main//button[text()="Verify"]`)
	page.See(t, `//p[contains(text(), "Requested")]`)
	b.db.Wait(t, "EXISTS (SELECT FROM analytics.verifications WHERE metric_date = '2016-05-04' AND result = 'drifted' AND requested_by = 'admin')")
	page.Go(t, b.url+"/verifications?result=drifted")
	page.Click(t, `//main//th/a[text()="2016-05-04"]`)
	page.See(t, `//main//h3[text()="Entities that drifted"]`)
	page.See(t, `//main//button[contains(., "Repair")]`)
}

// testRetryInBulk filters jobs and retries all that match.
func (b *pageBundle) testRetryInBulk(t *testing.T, page *browser.Page) {
	page.Go(t, b.url+"/jobs?state=discarded")
	var discarded int
	require.NoError(t, b.db.QueryRow(t.Context(), "SELECT count(*) FROM daymill.jobs WHERE state = 'discarded'").Scan(&discarded))
	require.Positive(t, discarded)
	page.Click(t, `//main//a[contains(., "Retry")]`)
	page.Click(t, fmt.Sprintf(`//main//button[contains(., "Retry %d job")]`, discarded))
	page.See(t, fmt.Sprintf(`//main//strong[contains(., "%d job")]`, discarded))
	b.db.Wait(t, "NOT EXISTS (SELECT FROM daymill.jobs WHERE state = 'discarded')")
	b.awaitQuiet(t)
}

// paths returns the pages, including empty lists and pages of single objects.
func (b *pageBundle) paths() []string {
	return []string{
		"/", "/?year=2016", "/dates", "/dates?state=failed", "/dates/2016-05-04", "/dates/2015-01-01", "/jobs", "/jobs?state=discarded", "/backfills",
		"/backfills?from=2016-03-13&to=2017-02-28&which=all", "/backfills/1", "/backfills/1?cancel", "/entities", b.entity, "/jobs/1", "/jobs/bulk?action=retry&state=completed", "/schedule", "/audit",
		"/verifications", "/verifications?result=drifted", "/verifications?result=protected", "/doctor", "/alerts",
		"/capture", "/consumers", "/changes", "/deadletters", "/help", "/totals", "/totals?days=1095", "/trends", "/trends?span=90d", "/entities?metric=events&period=30", "/attention", "/attention?sort=events", "/views", "/definition", "/builder",
		"/nowhere",
	}
}

// testAccessible runs Deque's axe-core on every page, light and dark, wide and narrow.
func (b *pageBundle) testAccessible(t *testing.T) {
	axe, err := os.ReadFile(filepath.Join(pgtest.Root(t), "ui", "testdata", "axe.min.js"))
	require.NoError(t, err)
	// The server does not have the variable, so the message waits.
	b.db.Do(t, `WITH channel AS (INSERT INTO daymill.alert_channels (name, kind, settings) VALUES ('ops', 'slack', '{"url": "$DAYMILL_TEST_NONE"}') RETURNING name),
		alert AS (INSERT INTO daymill.alerts (finding, level, sentence, told_at) VALUES ('failed', 'bad', 'A date failed.', now()) RETURNING id)
		INSERT INTO daymill.alert_messages (channel, alert, event, error) SELECT channel.name, alert.id, 'open', 'the webhook answered 500' FROM channel, alert`)
	page := b.open(t, browser.Options{})
	for _, path := range b.paths() {
		page.Emulate(t, browser.Options{})
		page.Go(t, b.url+path)
		browser.Evaluate[bool](t, page, string(axe)+"; true")
		for _, options := range []browser.Options{{}, {Dark: true}, {Width: 390}, {Width: 390, Dark: true}} {
			page.Emulate(t, options)
			only := "" // All rules; those about colors alone if only these have changed.
			if options.Dark {
				only = `, runOnly: {type: "rule", values: ["color-contrast", "link-in-text-block"]}`
			}
			found := browser.Evaluate[string](t, page, `axe.run({resultTypes: ["violations"]`+only+`}).then((r) => JSON.stringify(r.violations.map((v) =>
				({id: v.id, impact: v.impact, nodes: v.nodes.map((n) => n.html.slice(0, 200) + " " + (n.any[0]?.message ?? ""))}))))`)
			var violations []struct {
				ID     string   `json:"id"`
				Impact string   `json:"impact"`
				Nodes  []string `json:"nodes"`
			}
			require.NoError(t, json.Unmarshal([]byte(found), &violations))
			for _, v := range violations {
				require.NotContains(t, []string{"serious", "critical"}, v.Impact, "%s at %d, dark %v: %s: %s",
					path, options.Width, options.Dark, v.ID, strings.Join(v.Nodes, "\n"))
			}
			width := max(options.Width, 390)
			require.LessOrEqual(t, browser.Evaluate[int](t, page, "document.documentElement.scrollWidth"), max(width, 1280*(1-min(1, options.Width))),
				"%s is wider than the screen at %d", path, options.Width)
		}
	}
}

// testViewer loads every page as a user who may not change anything.
func (b *pageBundle) testViewer(t *testing.T) {
	page := b.open(t, browser.Options{User: "viewer"})
	for _, path := range b.paths() {
		page.Go(t, b.url+path)
		require.Zero(t, browser.Evaluate[int](t, page, `document.querySelectorAll("form[method=post]").length`), path)
	}
	for _, path := range []string{"/backfills", "/backfills/1", "/schedule", "/dates/2016-05-04/request", "/jobs", "/verifications"} {
		status := browser.Evaluate[int](t, page, fmt.Sprintf(`fetch(%q, {method: "POST", body: new URLSearchParams({action: "run"})}).then((r) => r.status)`, path))
		require.Equal(t, http.StatusForbidden, status, path)
	}
}
