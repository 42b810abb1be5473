package ui_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/rollup/label"
	"github.com/daymill/daymill/internal/test/browser"
	"github.com/daymill/daymill/ui"
)

// trendsSQL writes runs and requests of 2026-03-15: two runs that completed after 12:00, one that failed after 11:00, a request that waited
// for ninety seconds, and one that still waits.
const trendsSQL = `INSERT INTO analytics.rollup_runs (metric_date, state, worker, started_at, finished_at, events) VALUES
	('2026-03-14', 'complete', 'w', '2026-03-15 12:00+00', '2026-03-15 12:00:10+00', 500),
	('2026-03-13', 'complete', 'w', '2026-03-15 12:01+00', '2026-03-15 12:01:30+00', 700),
	('2026-03-12', 'failed', 'w', '2026-03-15 11:01+00', '2026-03-15 11:01:30+00', 9),
	('2026-03-12', 'complete', 'w', '2026-03-01 11:01+00', '2026-03-01 11:01:30+00', 9);
	INSERT INTO analytics.rollup_requests (metric_date, requested_at, due_at, resolved_at, resolution) VALUES
	('2026-03-14', '2026-03-15 11:59+00', '2026-03-15 11:59+00', '2026-03-15 12:00:30+00', 'satisfied'),
	('2026-03-13', '2026-03-15 10:30+00', '2026-03-15 10:30+00', NULL, NULL),
	('2026-03-12', '2026-03-02 10:30+00', '2026-03-02 10:30+00', NULL, NULL),
	('2026-03-16', '2026-03-15 10:30+00', '2026-03-15 10:30+00', NULL, NULL)`

func TestTrends(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) *api {
		t.Helper()
		a := newAPI(t, database(t), nil)
		a.clock.set(time.Date(2026, 3, 15, 12, 30, 0, 0, time.UTC))
		a.db.Do(t, trendsSQL)
		return a
	}

	t.Run("API", func(t *testing.T) {
		t.Parallel()
		a := setup(t)
		var got struct {
			Trends []map[string]any `json:"trends"`
		}
		// The statements' time limit may run out on a loaded machine.
		for len(got.Trends) == 0 && t.Context().Err() == nil {
			require.NoError(t, json.Unmarshal([]byte(a.call(t, "GET", "/api/trends?by=hour&number=3", "").body), &got))
		}
		text, err := json.Marshal(got.Trends)
		require.NoError(t, err)
		none := `"run_seconds": null, "due_to_complete_seconds": null, "requests_satisfied": 0, "runs_complete": 0, "events": 0`
		require.JSONEq(t, `[
			{"at": "2026-03-15T10:00:00Z", "runs_not_complete": 0, "requests_open": 2, `+none+`},
			{"at": "2026-03-15T11:00:00Z", "runs_not_complete": 1, "requests_open": 3, `+none+`},
			{"at": "2026-03-15T12:00:00Z", "runs_not_complete": 0, "requests_open": 2, "runs_complete": 2, "events": 1200,
				"run_seconds": {"median": 10, "p95": 30}, "requests_satisfied": 1, "due_to_complete_seconds": {"median": 90, "p95": 90}}]`, string(text))
		for _, query := range []string{"by=year", "number=0", "number=401", "number=x"} {
			require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "GET", "/api/trends?"+query, "").status, query)
		}
	})

	// More open requests than are added up: the page says that their number is too low.
	t.Run("Backlog", func(t *testing.T) {
		t.Parallel()
		a := setup(t)
		a.db.Do(t, `SET daymill.notify = off;
			INSERT INTO analytics.rollup_requests (metric_date, requested_at, due_at)
			SELECT '2026-03-14', '2026-03-15 10:30+00', '2026-03-15 10:30+00' FROM generate_series(1, 50000);
			RESET daymill.notify`)
		a.db.Do(t, "VACUUM ANALYZE analytics.rollup_requests")
		const low = "More than 30,000 requests may be open, so the numbers of open requests are too low."
		body := a.get(t, "/trends").body
		for !strings.Contains(body, low) && strings.Contains(body, "took too long to add up the runs and requests of the ledger: try again") && t.Context().Err() == nil {
			body = a.get(t, "/trends").body
		}
		require.Contains(t, body, low)
		a.db.Do(t, "DELETE FROM analytics.rollup_requests WHERE id > 20000")
		body = a.get(t, "/trends").body
		for strings.Contains(body, "took too long") && t.Context().Err() == nil {
			body = a.get(t, "/trends").body
		}
		require.NotContains(t, body, "too low")
	})

	t.Run("Browser", func(t *testing.T) {
		t.Parallel()
		a := setup(t)
		for _, options := range []browser.Options{{}, {Width: 390}, {NoJavaScript: true}} {
			options.User, options.Password = "admin", adminPassword
			shown := browser.Open(t, options)
			shown.Go(t, a.URL+"/trends")
			for strings.Contains(shown.Text(t, "main"), "took too long") {
				shown.Go(t, a.URL+"/trends")
			}
			shown.See(t, "svg.chart-duration")
			require.False(t, browser.Evaluate[bool](t, shown, `document.documentElement.scrollWidth > innerWidth ||
				[...document.querySelectorAll(".scroll")].some((at) => at.scrollWidth > at.clientWidth + 1)`), "%+v: nothing is off the screen", options.Width)
			shown.Click(t, `//main//a[text()="30 days"]`)
			shown.See(t, `//main//a[text()="30 days" and @aria-current="true"]`)
		}
	})

	t.Run("Page", func(t *testing.T) {
		t.Parallel()
		a := setup(t)
		a.db.Do(t, "DELETE FROM analytics.rollup_requests WHERE resolved_at IS NULL")
		body := a.get(t, "/trends").body
		for strings.Contains(body, "took too long") && t.Context().Err() == nil {
			body = a.get(t, "/trends").body
		}
		require.Contains(t, body, "2026-03-15 12:00\nmedian 10 s\n95 % within 30 s")
		require.Contains(t, body, "10 s / 30 s")
		for _, word := range []string{"due", "median", "growth"} {
			require.Contains(t, a.get(t, "/help").body, `id="`+word+`"`)
			if word != "growth" { // It is on the page of the entities.
				require.Contains(t, body, `href="/help#`+word+`"`)
			}
		}
		require.Contains(t, body, "There is no row for 22 hours in which nothing happened.")
		require.Equal(t, 2, strings.Count(body, `<th scope="row"`))
		require.Equal(t, http.StatusUnprocessableEntity, a.get(t, "/trends?span=9y").status)
		require.Contains(t, serve(t, database(t), nil).get(t, "/trends").body, "Nothing was rolled up in this period.")
	})
}

func TestAPITop(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), nil)
	a.clock.set(time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC))
	metrics(t, a.db, "1", "2026-03-01", 5, `{"share": 3}`)
	metrics(t, a.db, "1", "2026-03-02", 7, `{"share": 90}`)
	metrics(t, a.db, "2", "2026-03-02", 50, `{}`)
	top := func(query string) string {
		body := a.call(t, "GET", "/api/entities?"+query, "").body
		for strings.Contains(body, "even one date") && t.Context().Err() == nil { // The time limit ran out.
			body = a.call(t, "GET", "/api/entities?"+query, "").body
		}
		return body
	}
	require.JSONEq(t, `{"metric": "events", "dates": ["2026-03-02"], "dates_left_out": 0, "entities": [
		{"entity_id": "1", "count": 98, "before": 9}, {"entity_id": "2", "count": 51, "before": 0}]}`, top("days=1"))
	require.JSONEq(t, `{"metric": "views", "dates": ["2026-03-02", "2026-03-01"], "dates_left_out": 0, "entities": [
		{"entity_id": "2", "count": 50, "before": null}]}`, top("days=2&metric=views&limit=1"))
	require.JSONEq(t, `{"metric": "share", "dates": ["2026-03-02"], "dates_left_out": 0, "entities": [
		{"entity_id": "1", "count": 90, "before": 3}]}`, top("days=1&event_type=share"))
	for _, query := range []string{"days=0", "days=367", "limit=101", "metric=share", "metric=views&event_type=x", "event_type=%00"} {
		require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "GET", "/api/entities?"+query, "").status, query)
	}
	body := a.get(t, "/entities?metric=events&period=1").body
	require.Contains(t, body, "+988.9 %")
	require.Contains(t, body, `href="/help#growth"`)
	require.Contains(t, body, ">new<")
}

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func TestEntityNames(t *testing.T) {
	t.Parallel()
	db := database(t)
	metrics(t, db, "1", "2026-03-02", 5, `{}`)
	_, err := db.Exec(t.Context(), "CREATE TABLE public.product AS SELECT 1::bigint AS id, '<b>Blue chair</b>' AS name")
	require.NoError(t, err)
	open := func(source label.Source) (*site, *lines) {
		log := &lines{}
		s := serve(t, db, func(c *ui.Config) { c.Labels, c.Logger = source, slog.New(slog.NewTextHandler(log, nil)) })
		s.clock.set(time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC))
		return s, log
	}
	s, _ := open(label.Source{SQL: "SELECT id, name FROM public.product WHERE id = ANY($1)", URL: "https://shop.example/p/{id}"})
	for _, path := range []string{"/entities", "/entity?id=1"} {
		body := s.get(t, path).body
		for strings.Contains(body, "cannot be read") && t.Context().Err() == nil { // The time limit ran out.
			body = s.get(t, path).body
		}
		require.Contains(t, body, "&lt;b&gt;Blue chair&lt;/b&gt;", path)
		require.Contains(t, body, `href="https://shop.example/p/1" rel="noreferrer"`, path)
	}
	s, log := open(label.Source{SQL: "SELECT id, title FROM public.product WHERE id = ANY($1)"})
	warnings := func() int {
		log.mu.Lock()
		defer log.mu.Unlock()
		return strings.Count(log.text.String(), "the names of entities cannot be read")
	}
	for path, want := range map[string]string{"/entities": "id=1&amp;", "/entity?id=1": "Entity 1"} {
		answer := s.get(t, path)
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "The names of entities cannot be read")
		require.Contains(t, answer.body, want, path)
	}
	require.Equal(t, 1, warnings()) // Both are of one minute.
	s.clock.set(time.Date(2026, 3, 3, 12, 1, 0, 0, time.UTC))
	s.get(t, "/entities")
	require.Equal(t, 2, warnings())
	log.mu.Lock()
	defer log.mu.Unlock()
	require.Contains(t, log.text.String(), "title")
}
