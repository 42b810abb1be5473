package ui_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/browser"
)

// TestAccessible runs Deque's axe-core on every page that has a route, light and dark, wide and narrow, and checks that none is wider than the
// screen, nor has a table with columns off it. TestHostile/Complete holds the list of routes.
func TestAccessible(t *testing.T) {
	t.Parallel()
	s, _ := hostileSite(t, entity.Text)
	s.db.Do(t, `INSERT INTO public.raw_events (entity_id, event_type, created_at)
		SELECT '<b>7</b> ' || repeat('long-', 30), 'view', '2026-03-01 12:00 UTC' FROM generate_series(1, 3)`)
	s.db.Do(t, `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count) VALUES ('7', '2026-03-01', 3), (repeat('long-', 30), '2026-03-01', 2)`)
	capture := &captureBundle{site: s}
	var err error
	capture.writer, err = log.Take(t.Context(), log.Config{DB: s.db.DB, Stream: "app", Owner: "worker 1"})
	require.NoError(t, err)
	capture.land(t, 5)
	axe, err := os.ReadFile("testdata/axe.min.js")
	require.NoError(t, err)
	shown := browser.Open(t, browser.Options{User: "admin", Password: adminPassword})
	looked := 0
	for _, r := range append(routes(), route{"GET", "/login", nil}, route{"GET", "/nowhere", nil}) {
		if r.method != "GET" || strings.HasPrefix(r.path, "/api/") || strings.HasSuffix(r.path, ".csv") || strings.HasSuffix(r.path, ".yaml") {
			continue
		}
		path, rest := r.address(r.values)
		want := http.StatusOK
		if path == "/nowhere" {
			want = http.StatusNotFound
		}
		if status := s.get(t, path).status; status != want { // It needs values.
			path += "?" + rest.Encode()
			require.Equal(t, want, s.get(t, path).status, path)
		}
		shown.Emulate(t, browser.Options{})
		shown.Go(t, s.URL+path)
		require.Equal(t, 1, browser.Evaluate[int](t, shown, `document.querySelectorAll("h1").length`), path)
		browser.Evaluate[bool](t, shown, string(axe)+"; true")
		for _, options := range []browser.Options{{}, {Dark: true}, {Width: 390}, {Width: 390, Dark: true}} {
			shown.Emulate(t, options)
			only := "" // All rules; those about colors alone if only these have changed.
			if options.Dark {
				only = `, runOnly: {type: "rule", values: ["color-contrast", "link-in-text-block"]}`
			}
			require.Empty(t, browser.Evaluate[[]string](t, shown, `axe.run({resultTypes: ["violations"]`+only+`}).then((r) => r.violations
				.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => v.id + ": " + v.nodes.map((n) => n.html.slice(0, 200)).join(" ")))`),
				"%s at %d, dark %v", path, options.Width, options.Dark)
			require.Empty(t, browser.Evaluate[[]string](t, shown, `[...document.querySelectorAll(".scroll")].filter((at) => at.scrollWidth > at.clientWidth + 1)
				.map((at) => at.ariaLabel + " " + at.scrollWidth + " of " + at.clientWidth)`), "%s at %d has columns off the screen", path, options.Width)
			require.LessOrEqual(t, browser.Evaluate[int](t, shown, "document.documentElement.scrollWidth"), max(390, 1280*(1-min(1, options.Width))), "%s at %d", path, options.Width)
		}
		looked++
	}
	require.Greater(t, looked, 30)
}
