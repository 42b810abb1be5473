package ui_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

// listedDates returns the dates that a list shows, in its order.
func listedDates(body string) []string {
	var dates []string
	for _, found := range regexp.MustCompile(`<th scope="row" class="fixed"><a href="[^"]*">([0-9-]+)</a>`).FindAllStringSubmatch(body, -1) {
		dates = append(dates, found[1])
	}
	return dates
}

// leads returns the address of a pager's link; empty if there is none.
func leads(t *testing.T, body, rel string) string {
	t.Helper()
	found := regexp.MustCompile(`<a href="([^"]*)" rel="` + rel + `">`).FindStringSubmatch(body)
	if found == nil {
		return ""
	}
	return strings.ReplaceAll(found[1], "&amp;", "&")
}

func TestDates(t *testing.T) {
	t.Parallel()

	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		require.Contains(t, s.get(t, "/dates").body, "No date has been requested yet")
		require.Contains(t, s.get(t, "/dates?state=failed").body, "No date matches the filter")
	})

	t.Run("Filter", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, failSQL, "2026-03-02", "it broke")
		s.db.Do(t, "DELETE FROM analytics.rollup_dates WHERE metric_date IN ('2026-03-05', '2026-03-07')")
		require.Equal(t, []string{"2026-03-02"}, listedDates(s.get(t, "/dates?state=failed").body))
		require.Equal(t, []string{"2026-02-22", "2026-02-21", "2026-02-20"}, listedDates(s.get(t, "/dates?to=2026-02-22").body))
		require.Equal(t, []string{"2026-03-14"}, listedDates(s.get(t, "/dates?from=2026-03-14").body))
		require.Eventually(t, func() bool {
			return fmt.Sprint(listedDates(s.get(t, "/dates?state=missing").body)) == "[2026-03-07 2026-03-05]"
		}, waitFor, tick)
		require.Equal(t, []string{"2026-03-05"}, listedDates(s.get(t, "/dates?state=missing&to=2026-03-06").body))
		body := s.get(t, "/dates?from=2026-03-14").body
		require.Regexp(t, `data-label="Events">12,345</td><td class="num" data-label="Entities">678</td><td class="num" data-label="Rows changed">678</td>`, body)
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		for query, want := range map[string]string{
			"from=x": "is not a date", "to=2026-02-30": "is not a date", "before=1": "is not a date", "state=<b>": "no state &#34;&lt;b&gt;&#34;", "state=bogus": "one of incomplete, failing, complete",
			"from=2026-03-02&to=2026-03-01": "reversed",
		} {
			answer := s.get(t, "/dates?"+query)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, query)
			require.Contains(t, answer.body, want, query)
		}
	})

	t.Run("Pages", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		s.db.Do(t, completeSQL, "2025-01-01", "2025-04-30") // 120
		var seen []string
		var pages [][]string
		at := "/dates?from=2025-01-01"
		for at != "" {
			body := s.get(t, at).body
			pages = append(pages, listedDates(body))
			seen = append(seen, listedDates(body)...)
			at = leads(t, body, "next")
		}
		require.Len(t, pages, 3)
		require.Len(t, seen, 120)
		require.Equal(t, "2025-04-30", seen[0])
		require.Equal(t, "2025-01-01", seen[119])
		require.IsDecreasing(t, seen)
		// And back.
		body := s.get(t, "/dates?from=2025-01-01&before="+pages[1][49]).body
		require.Equal(t, pages[2], listedDates(body))
		body = s.get(t, leads(t, body, "prev")).body
		require.Equal(t, pages[1], listedDates(body))
		body = s.get(t, leads(t, body, "prev")).body
		require.Equal(t, pages[0], listedDates(body))
		require.Empty(t, leads(t, body, "prev"))
	})
}

func TestDate(t *testing.T) {
	t.Parallel()

	t.Run("Figures", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, `UPDATE analytics.rollup_runs SET rows_updated = 31, rows_deleted = 32, slices = 33, batches = 34, passes = 35,
			longest_statement_ms = 85, worked_ms = 1200, paused_ms = 125000 WHERE metric_date = '2026-03-02'`)
		body := s.get(t, "/dates/2026-03-02").body
		for name, want := range map[string]string{
			"Events": "12,345", "Entities": "678", "Rows inserted": "678", "Rows updated": "31", "Rows deleted": "32", "Slices": "33",
			"Batches": "34", "Passes": "35", "Longest statement": "85 ms", "Time worked": "1.2 s", "Time paused": "2 min 5 s",
		} {
			require.Regexp(t, "<dt>(<a[^>]*>)?"+name+"(</a>)?</dt><dd>"+want+"</dd>", body)
		}
		require.Contains(t, body, "Its metrics equal its events")
		require.Contains(t, body, "did not record them")
		require.NotContains(t, body, "hx-get", "a date in a final state does not refresh itself")

		// The retention has deleted the run and its figures.
		s.db.Do(t, "DELETE FROM analytics.rollup_runs")
		body = s.get(t, "/dates/2026-03-02").body
		require.Contains(t, body, "<dt>Events</dt><dd>12,345</dd>")
		require.Contains(t, body, "The run itself was deleted since.")
	})

	t.Run("Lists", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, failSQL, "2026-03-02", "it broke")
		s.db.Do(t, `INSERT INTO analytics.rollup_requests (metric_date, requested_by, requested_via, due_at)
			SELECT '2026-03-02', '<i>who</i>', 'go', CASE WHEN i = 1 THEN 'infinity' ELSE now() END FROM generate_series(1, 25) AS i`)
		s.db.Do(t, `INSERT INTO public.river_job (kind, args, max_attempts, state, metadata, queue)
			VALUES ('rollup_day', '{"date": "2026-03-02"}', 10, 'available', '{"daymill": "request"}', 'daymill')`)
		body := s.get(t, "/dates/2026-03-02").body
		require.NotContains(t, body, "The next attempt is at")
		s.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date) SELECT '2026-03-03' FROM generate_series(1, 1100)")
		require.Contains(t, s.get(t, "/dates/2026-03-03").body, "and at least 980 others; one run satisfies them all")
		s.db.Do(t, `UPDATE public.river_job SET state = 'retryable', attempt = 1, scheduled_at = '2026-03-15 18:17:16Z'`)
		body = s.get(t, "/dates/2026-03-02").body
		require.Regexp(t, `(?s)The next attempt is at\s+<time datetime="2026-03-15T18:17:16Z"`, body)
		for _, want := range []string{
			"retrying", "it broke", "&lt;i&gt;who&lt;/i&gt;", "never", "and 5 others; one run satisfies them all", "1 of 10", "Try again",
			fmt.Sprintf(`href="/jobs/%d"`, pgtest.Value[int64](t, s.db, "SELECT id FROM daymill.jobs")),
		} {
			require.Contains(t, body, want)
		}
	})

	t.Run("Live", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'running', heartbeat_at = now() WHERE metric_date = '2026-03-02'")
		s.db.Do(t, "UPDATE analytics.rollup_runs SET state = 'running', phase = 'scan', progress = 0.4 WHERE metric_date = '2026-03-02'")
		body := s.get(t, "/dates/2026-03-02").body
		require.Contains(t, body, `hx-get="/dates/2026-03-02" hx-trigger="every 5s"`)
		require.Contains(t, body, "Reading events")
		require.Regexp(t, `<progress aria-label="Run" value="(400|399)" max="1000">`, body)
	})

	t.Run("NextAttempt", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-02')")
		s.db.Do(t, failSQL, "2026-03-02", "run: ERROR: no function f (SQLSTATE 42883); hint: add casts")
		s.db.Do(t, `INSERT INTO river_job (kind, args, max_attempts, attempt, queue, state, scheduled_at)
			VALUES ('rollup_day', '{"date": "2026-03-02"}', 10, 1, 'daymill', 'retryable', '2026-03-15 12:34:56Z')`)
		body := s.get(t, "/dates/2026-03-02").body
		require.Regexp(t, `The next attempt is at\s+<time[^>]*>2026-03-15 12:34:56 UTC`, body)
		require.Contains(t, body, "hint: add casts")
	})

	t.Run("Request", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		answer := s.post(t, "/dates/2026-03-02/request", "")
		require.Equal(t, http.StatusSeeOther, answer.status)
		require.Equal(t, "/dates/2026-03-02", answer.header.Get("Location"))
		require.Equal(t, "requested", answer.notice())
		require.Contains(t, s.get(t, "/dates/2026-03-02").body, "Open requests")
		for path, status := range map[string]int{
			"/dates/2026-03-16/request": http.StatusUnprocessableEntity, "/dates/2027-01-01/request": http.StatusUnprocessableEntity,
			"/dates/2026-02-30/request": http.StatusNotFound, "/dates/x/request": http.StatusNotFound,
		} {
			require.Equal(t, status, s.post(t, path, "").status, path)
		}
		require.Equal(t, 1, pgtest.Value[int](t, s.db, "SELECT count(*) FROM analytics.rollup_requests"))
	})

	t.Run("Runs", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, `INSERT INTO analytics.rollup_runs (metric_date, state, worker, finished_at, job_id, attempt)
			SELECT '2026-03-02', 'lost', 'w', now(), 7, i FROM generate_series(1, 24) AS i`)
		runs := regexp.MustCompile(`<th scope="row">(\d+)</th>`)
		first := s.get(t, "/dates/2026-03-02").body
		require.Len(t, runs.FindAllString(first, -1), 10)
		require.Empty(t, leads(t, first, "prev"))
		second := s.get(t, leads(t, first, "next")).body
		third := s.get(t, leads(t, second, "next")).body
		require.Len(t, runs.FindAllString(third, -1), 5)
		require.Empty(t, leads(t, third, "next"))
		back := s.get(t, leads(t, third, "prev")).body
		require.Equal(t, runs.FindAllString(second, -1), runs.FindAllString(back, -1))
		require.Equal(t, http.StatusUnprocessableEntity, s.get(t, "/dates/2026-03-02?before=x").status)
	})

	t.Run("Top", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, `INSERT INTO analytics.top_entities VALUES ('2026-03-02', $1)`,
			`{"events": [{"id": "<b>&\"/", "count": 4321}], "views": [{"id": "7", "count": 12}]}`)
		body := s.get(t, "/dates/2026-03-02").body
		require.Contains(t, body, `<a href="/entity?id=%3Cb%3E%26%22%2F">&lt;b&gt;&amp;&#34;/</a>`)
		require.Contains(t, body, "4,321")
		require.Contains(t, s.get(t, "/dates/2026-03-02?top=views").body, `<a href="/entity?id=7">7</a>`)
		require.Contains(t, s.get(t, "/dates/2026-03-02?top=saves").body, "This date has no saves.")
		require.Equal(t, http.StatusOK, s.get(t, "/dates/2026-03-02?top="+url.QueryEscape("<x>")).status)
	})

	t.Run("Unknown", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		for path, status := range map[string]int{
			"/dates/2026-02-30": http.StatusNotFound, "/dates/x": http.StatusNotFound, "/dates/2026-03-16": http.StatusOK,
			"/dates/2026-03-15": http.StatusOK, "/dates/2020-01-01": http.StatusOK,
		} {
			require.Equal(t, status, s.get(t, path).status, path)
		}
		require.Contains(t, s.get(t, "/dates/2026-03-15").body, "It is not over yet.")
		require.Contains(t, s.get(t, "/dates/2026-03-16").body, "It has not begun.")
		require.Eventually(t, func() bool { return strings.Contains(s.get(t, "/dates/2020-01-01").body, "It has no events") }, waitFor, tick)
		// Somebody has scheduled a job for a future date.
		s.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-16')")
		require.Equal(t, http.StatusOK, s.get(t, "/dates/2026-03-16").status)
	})
}

// TestDatesPlans explains every statement of the overview and the pages of dates, in a ledger of several years: none scans a large table.
func TestDatesPlans(t *testing.T) {
	t.Parallel()
	s := atMarch(t)
	s.db.Do(t, completeSQL, "2016-03-15", "2026-02-19")
	s.db.Do(t, `INSERT INTO analytics.rollup_runs (metric_date, state, worker, finished_at)
		SELECT '2016-03-15'::date + i % 3600, 'lost', 'w', now() FROM generate_series(1, 40000) AS i`)
	s.db.Do(t, `INSERT INTO analytics.rollup_requests (metric_date, resolved_at, resolution)
		SELECT '2016-03-15'::date + i % 3600, now(), 'satisfied' FROM generate_series(1, 40000) AS i`)
	s.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date) SELECT '2026-01-01'::date + i FROM generate_series(1, 40) AS i")
	s.db.Do(t, `INSERT INTO daymill.jobs (id, kind, metric_date, args, state, queue, priority, attempt, max_attempts, created_at, scheduled_at)
		SELECT i, 'rollup_day', '2016-03-15'::date + i % 3600, '{}', 'completed', 'daymill', 1, 1, 10, now(), now()
		FROM generate_series(1, 40000) AS i`)
	s.db.Do(t, `INSERT INTO public.river_job (kind, args, max_attempts, state, queue, finalized_at)
		SELECT 'theirs', '{}', 10, 'completed', 'theirs', now() FROM generate_series(1, 40000) AS i`)
	s.db.Do(t, "INSERT INTO analytics.top_entities SELECT metric_date, '{}' FROM analytics.rollup_dates")
	s.db.Do(t, "INSERT INTO analytics.date_types SELECT metric_date, '{}' FROM analytics.rollup_dates")
	// What the trends read is recent; most is older.
	s.db.Do(t, "UPDATE analytics.rollup_runs SET finished_at = finished_at - id % 400 * interval '1 day'")
	s.db.Do(t, "UPDATE analytics.rollup_requests SET resolved_at = resolved_at - id % 400 * interval '1 day' WHERE resolved_at IS NOT NULL")
	for _, table := range []string{"analytics.rollup_runs", "analytics.rollup_requests", "analytics.rollup_dates", "daymill.jobs", "analytics.top_entities", "analytics.date_types"} {
		s.db.Do(t, "ANALYZE "+table)
	}
	s.db.Do(t, "ANALYZE public.river_job")

	tracer := &tracer{}
	traced := serve(t, s.db, func(c *ui.Config) { c.DB = tracer.open(t, s.db.URL) })
	traced.clock.set(time.Date(2026, 3, 15, 12, 0, 0, 0, time.UTC))
	for _, path := range []string{
		"/", "/?year=2020", "/dates", "/dates?before=2020-01-01", "/dates?after=2020-01-01&state=complete", "/dates?state=missing",
		"/dates/2020-01-01", "/dates/2020-01-01?before=30000", "/dates/2020-01-01?after=10", "/dates/2026-01-05",
		"/totals", "/totals?days=30", "/schedule",
	} {
		require.Equal(t, http.StatusOK, traced.get(t, path).status, path)
	}
	traced.clock.set(time.Now()) // The runs and requests ended until now.
	for _, path := range []string{"/trends", "/trends?span=30d"} {
		require.Equal(t, http.StatusOK, traced.get(t, path).status, path)
	}
	explained := 0
	removed := regexp.MustCompile(`Rows Removed by Filter: (\d+)`)
	large := regexp.MustCompile(`Seq Scan on (rollup_runs|rollup_requests|jobs|river_job|top_entities|date_types)\b`)
	for _, q := range tracer.take() {
		if verb := regexp.MustCompile(`(?m)^\s*(SELECT|WITH)`); !verb.MatchString(q.sql) || strings.Contains(q.sql, "set_config") {
			continue
		}
		rows, err := s.db.Query(t.Context(), "EXPLAIN (ANALYZE, TIMING off) "+q.sql, q.args...)
		require.NoError(t, err, q.sql)
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err, q.sql)
		require.NotRegexp(t, large, strings.Join(plan, "\n"), q.sql)
		for _, found := range removed.FindAllStringSubmatch(strings.Join(plan, "\n"), -1) {
			n, err := strconv.Atoi(found[1])
			require.NoError(t, err)
			require.Less(t, n, 5_000, "it scans a whole index:\n%s\n%s", q.sql, strings.Join(plan, "\n"))
		}
		explained++
	}
	require.Greater(t, explained, 30)
}
