package ui_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

// verifiedSQL records a verification of a date with a result, and updates the date as a verification does.
const verifiedSQL = `INSERT INTO analytics.verifications
	(metric_date, run_id, result, entities, drifted_entities, events_counted, events_stored, started_at, requested_by, requested_via, drifts)
	VALUES ($1, 1, $2, 678, CASE WHEN $2 = 'drifted' THEN 22 ELSE 0 END, 12345, CASE WHEN $2 = 'drifted' THEN 12340 ELSE 12345 END,
		clock_timestamp() - interval '1.5 seconds', 'anna', 'cli', $3)`

func TestVerifications(t *testing.T) {
	t.Parallel()
	rows := regexp.MustCompile(`<th scope="row" class="fixed"><a href="/dates/([0-9-]+)">`)
	dates := func(body string) (all []string) {
		for _, found := range rows.FindAllStringSubmatch(body, -1) {
			all = append(all, found[1])
		}
		return all
	}

	t.Run("API", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		require.JSONEq(t, `{"verifications":[],"next_cursor":null}`, a.call(t, "GET", "/api/verifications", "").body)
		for i := range 7 {
			a.db.Do(t, verifiedSQL, fmt.Sprintf("2026-03-%02d", i+1), map[bool]string{true: "drifted", false: "exact"}[i%2 == 0], "[]")
		}
		a.requireValid(t, "GET", "/api/verifications?limit=2&result=drifted", "")
		var got []string
		for cursor, more := "", true; more; {
			var page struct {
				Verifications []struct {
					Date string `json:"date"`
				} `json:"verifications"`
				NextCursor *string `json:"next_cursor"`
			}
			answer := a.call(t, "GET", "/api/verifications?limit=2&result=drifted&cursor="+cursor, "", basic("viewer", viewerPassword))
			require.NoError(t, json.Unmarshal([]byte(answer.body), &page))
			for _, v := range page.Verifications {
				got = append(got, v.Date)
			}
			if more = page.NextCursor != nil; more {
				cursor = *page.NextCursor
			}
		}
		require.Equal(t, []string{"2026-03-07", "2026-03-05", "2026-03-03", "2026-03-01"}, got)
		require.Contains(t, a.call(t, "GET", "/api/verifications?date=2026-03-02", "").body, `"date":"2026-03-02","result":"exact"`)
		for _, query := range []string{"limit=0", "limit=1001", "cursor=x", "cursor=-1", "date=x", "result=wrong"} {
			require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "GET", "/api/verifications?"+query, "").status, query)
		}

		for _, body := range []string{`{"date":"2026-03-01"}`, `{"from":"2026-03-01","to":"2026-03-05","repair":true}`, `{"sample":7}`} {
			a.requireValid(t, "POST", "/api/verifications", body)
			answer := a.call(t, "POST", "/api/verifications", body)
			require.Equal(t, http.StatusAccepted, answer.status, answer.body)
			require.Contains(t, answer.body, `"enqueued":true`)
			require.Contains(t, a.call(t, "POST", "/api/verifications", body).body, `"enqueued":false`)
		}
		require.EqualValues(t, 3, a.count(t, "SELECT count(*) FROM river_job WHERE kind = 'verify_dates' AND queue = 'daymill_control'"))
		require.Equal(t, "api api verify dates 2026-03-01, api api verify dates 2026-03-01..2026-03-05, api api verify dates sample of 7",
			a.text(t, "SELECT string_agg(concat_ws(' ', actor, via, action, target), ', ' ORDER BY id) FROM daymill.audit"))
		for _, body := range []string{
			`{}`, `{"sample":367}`, `{"sample":-1}`, `{"date":"2026-03-01","sample":1}`, `{"from":"2026-03-01"}`, `{"from":"2025-01-01","to":"2026-03-01"}`,
		} {
			require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "POST", "/api/verifications", body).status, body)
		}
		require.Equal(t, http.StatusForbidden, a.call(t, "POST", "/api/verifications", `{"sample":7}`, basic("viewer", viewerPassword)).status)
	})

	t.Run("Date", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		require.NotContains(t, s.get(t, "/dates/2026-03-02").body, "Verifications</h2>")
		s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'stale' WHERE metric_date = '2026-03-02'")
		s.db.Do(t, verifiedSQL, "2026-03-02", "drifted", `[
			{"entity": "<b>&", "stored": {"views": 1, "clicks": 0, "saves": 2, "skips": 0, "other": {"<i>": 3}}, "counted": null},
			{"entity": "7", "stored": null, "counted": {"views": 0, "clicks": 0, "saves": 0, "skips": 0, "other": {}}}]`)
		body := s.get(t, "/dates/2026-03-02").body
		for _, want := range []string{
			"stale", ">Repair <span", "Entities that drifted", `<a href="/entity?id=%3Cb%3E%26">&lt;b&gt;&amp;</a>`,
			"views 1 → 0, saves 2 → 0, &lt;i&gt; 3 → 0, it has no events", "it has no row", "and 20 more", "+5", "22", "anna", "by command", "1.5 s",
		} {
			require.Contains(t, body, want)
		}
		require.NotContains(t, body, "a repair would erase")
		s.db.Do(t, "UPDATE analytics.verifications SET events_stored = 20000")
		require.Contains(t, s.get(t, "/dates/2026-03-02").body, "a repair would erase")
		body = s.get(t, "/verifications").body
		require.Contains(t, body, "−7,655")
		require.Contains(t, body, "look first")
		require.NotContains(t, body, `aria-label="Repair`, "only the page of the date offers it, and says what it would erase")

		answer := s.post(t, "/verifications", "from=2026-03-02&back=date")
		require.Equal(t, "/dates/2026-03-02", answer.header.Get("Location"))
		require.Equal(t, "verifying", answer.notice())
		require.Contains(t, s.get(t, "/verifications").body, "verifies 2026-03-02: available")
	})

	t.Run("Filter", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		require.Contains(t, s.get(t, "/verifications").body, "Nothing has been verified yet.")
		for _, result := range []string{"exact", "drifted", "changed", "protected"} {
			s.db.Do(t, verifiedSQL, "2026-03-02", result, "[]")
		}
		s.db.Do(t, verifiedSQL, "2026-03-03", "exact", "[]")
		require.Equal(t, []string{"2026-03-03", "2026-03-02", "2026-03-02", "2026-03-02", "2026-03-02"}, dates(s.get(t, "/verifications").body))
		require.Len(t, dates(s.get(t, "/verifications?result=exact").body), 2)
		require.Len(t, dates(s.get(t, "/verifications?result=exact&date=2026-03-02").body), 1)
		require.Equal(t, []string{"2026-03-03"}, dates(s.get(t, "/verifications?date=2026-03-03").body))
		require.Contains(t, s.get(t, "/verifications?date=2026-03-04").body, "No verification matches the filter.")
		for _, query := range []string{"result=<b>", "date=x", "before=x", "after=0"} {
			require.Equal(t, http.StatusUnprocessableEntity, s.get(t, "/verifications?"+query).status, query)
		}
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		for form, want := range map[string]string{
			"": "Give a date", "from=2026-03-01&sample=3": "not both", "to=2026-03-01": "first date as well", "from=x": "is not a date",
			"from=2026-03-02&to=2026-03-01": "reversed", "from=2020-01-01&to=2026-03-01": "366 at most", "sample=0": "from 1 to 366",
			"sample=1e3": "from 1 to 366", "sample=367": "1 to 366",
		} {
			answer := s.post(t, "/verifications", form)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, form)
			require.Contains(t, answer.body, want, form)
		}
		require.Zero(t, pgtest.Value[int](t, s.db, "SELECT count(*) FROM river_job"))
		require.Zero(t, pgtest.Value[int](t, s.db, "SELECT count(*) FROM daymill.audit"))
		answer := s.do(t, s.request(t, "viewer", http.MethodPost, "/verifications", "sample=7"))
		require.Equal(t, http.StatusForbidden, answer.status)
		require.NotContains(t, s.do(t, s.request(t, "viewer", http.MethodGet, "/verifications", "")).body, `method="post"`)
	})

	t.Run("Pages", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, `INSERT INTO analytics.verifications (metric_date, result, started_at, requested_via)
			SELECT '2025-01-01'::date + i, 'exact', now(), 'job' FROM generate_series(1, 120) AS i`)
		var pages [][]string
		for at := "/verifications?result=exact"; at != ""; {
			body := s.get(t, at).body
			pages = append(pages, dates(body))
			require.Equal(t, len(pages) == 1, strings.Contains(body, "hx-get"), "only the first page refreshes itself")
			at = leads(t, body, "next")
		}
		require.Len(t, pages, 3)
		require.Equal(t, []int{50, 50, 20}, []int{len(pages[0]), len(pages[1]), len(pages[2])})
		require.Equal(t, "2025-01-02", pages[2][19])
		back := s.get(t, leads(t, s.get(t, "/verifications?before=21").body, "prev")).body
		require.Equal(t, pages[1], dates(back))
	})

	t.Run("Repair", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, "UPDATE analytics.rollup_dates SET state = 'stale' WHERE metric_date = '2026-03-02'")
		s.db.Do(t, verifiedSQL, "2026-03-02", "drifted", "[]")
		s.db.Do(t, verifiedSQL, "2026-03-02", "drifted", "[]")
		s.db.Do(t, verifiedSQL, "2026-03-03", "drifted", "[]") // The date was rolled up since.
		body := s.get(t, "/verifications").body
		require.Equal(t, 1, strings.Count(body, `aria-label="Repair 2026-03-02"`))
		require.NotContains(t, body, "Repair 2026-03-03")
		answer := s.post(t, "/dates/2026-03-02/request", "back=verifications")
		require.Equal(t, "/verifications", answer.header.Get("Location"))
		require.Equal(t, "requested", answer.notice())
		require.NotContains(t, s.get(t, "/verifications").body, `aria-label="Repair`)
		require.Equal(t, "admin web request dates 2026-03-02", pgtest.Value[string](t, s.db, "SELECT concat_ws(' ', actor, via, action, target) FROM daymill.audit"))
	})

	t.Run("Verify", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		form := url.Values{"from": {"2026-03-01"}, "to": {"2026-03-05"}, "repair": {"1"}}.Encode()
		answer := s.post(t, "/verifications", form)
		require.Equal(t, "/verifications", answer.header.Get("Location"))
		require.Equal(t, "verifying", answer.notice())
		require.Equal(t, "requested-already", s.post(t, "/verifications", form).notice())
		require.Equal(t, "verifying", s.post(t, "/verifications", "sample=12").notice())
		require.JSONEq(t, `{"from": "2026-03-01", "to": "2026-03-05", "repair": true, "requested_by": "admin", "requested_via": "web"}`,
			pgtest.Value[string](t, s.db, "SELECT args::text FROM river_job ORDER BY id LIMIT 1"))
		require.Equal(t, `admin web verify dates 2026-03-01..2026-03-05 {"job": 1, "repair": true}`,
			pgtest.Value[string](t, s.db, "SELECT concat_ws(' ', actor, via, action, target, detail) FROM daymill.audit ORDER BY id LIMIT 1"))
		body := s.get(t, "/verifications").body
		require.Contains(t, body, `Job <a href="/jobs/1">1</a> verifies 2026-03-01..2026-03-05: available.`)
		require.Contains(t, body, "a sample of 12 dates")
	})
}

// TestVerificationsPlans explains the statements of the pages, with years of verifications: none scans all of them.
func TestVerificationsPlans(t *testing.T) {
	t.Parallel()
	s := atMarch(t)
	s.db.Do(t, `INSERT INTO analytics.verifications (metric_date, result, started_at, requested_via, drifts)
		SELECT '2016-03-15'::date + i % 3600, CASE WHEN i % 997 = 0 THEN 'drifted' ELSE 'exact' END, now(), 'job', '[]'
		FROM generate_series(1, 60000) AS i`)
	s.db.Do(t, "INSERT INTO analytics.verifications (metric_date, result, drifted_entities, started_at, requested_via) VALUES ('2026-03-02', 'drifted', 3, now(), 'cli')")
	s.db.Do(t, `INSERT INTO daymill.jobs (id, kind, args, state, queue, priority, attempt, max_attempts, created_at, scheduled_at)
		SELECT i, CASE WHEN i % 2 = 0 THEN 'verify_dates' ELSE 'rollup_day' END, '{}', 'completed', 'daymill', 1, 1, 10, now(), now()
		FROM generate_series(1, 40000) AS i`)
	s.db.Do(t, `INSERT INTO analytics.rollup_requests (metric_date, resolved_at, resolution)
		SELECT '2016-03-15'::date + i % 3600, now(), 'satisfied' FROM generate_series(1, 40000) AS i`)
	for _, table := range []string{"analytics.verifications", "daymill.jobs", "analytics.rollup_requests", "analytics.rollup_dates"} {
		s.db.Do(t, "ANALYZE "+table)
	}
	tracer := &tracer{}
	traced := serve(t, s.db, func(c *ui.Config) { c.DB = tracer.open(t, s.db.URL) })
	for _, path := range []string{
		"/verifications", "/verifications?before=30000", "/verifications?after=100", "/verifications?result=drifted",
		"/verifications?result=drifted&after=100", "/verifications?date=2020-01-01", "/verifications?date=2020-01-01&result=drifted",
		"/verifications?result=protected", "/dates/2026-03-02", "/api/verifications?limit=1000",
	} {
		require.Equal(t, http.StatusOK, traced.get(t, path).status, path)
	}
	explained := 0
	for _, q := range tracer.take() {
		if !strings.Contains(q.sql, "Verification") {
			continue
		}
		found, err := s.db.Query(t.Context(), "EXPLAIN "+q.sql, q.args...)
		require.NoError(t, err, q.sql)
		plan, err := pgx.CollectRows(found, pgx.RowTo[string])
		require.NoError(t, err, q.sql)
		require.NotRegexp(t, `Seq Scan on (verifications|jobs|rollup_requests)`, strings.Join(plan, "\n"), q.sql)
		explained++
	}
	require.Greater(t, explained, 18)
}
