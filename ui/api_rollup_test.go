package ui_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/ui"
)

func TestAPIRollups(t *testing.T) {
	t.Parallel()

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		for _, c := range []struct {
			body   string
			status int
			detail string
		}{
			{`{"date":"2026-02-30"}`, 422, "not a date"},
			{`{"date":"` + strings.Repeat("9", 50_000) + `"}`, 422, "not a date"},
			{`{"date":"2026-03-11"}`, 422, "in the future"},
			{`{"date":"0000-01-01"}`, 422, "year 1"},
			{`{"from":"2026-03-02","to":"2026-03-01"}`, 422, "reversed"},
			{`{"from":"2010-03-02","to":"2026-03-01"}`, 422, "3660"},
			{`{"from":"2026-03-02"}`, 422, "either date, or from and to"},
			{`{"date":"2026-03-02","to":"2026-03-02"}`, 422, "either date, or from and to"},
			{`{}`, 422, "either date, or from and to"},
			{`null`, 422, "either date, or from and to"},
			{`{"date":"2026-03-02","<script>":1}`, 400, "nknown field"},
			{`{"date":5}`, 400, "field date"},
			{`[]`, 400, ""},
			{`"2026-03-01"`, 400, ""},
			{`{"date":"2026-03-02"} {}`, 400, "more than one"},
			{`{"date":`, 400, ""},
			{"\xff", 400, ""},
			{`{"date":"` + strings.Repeat("9", 70_000) + `"}`, 413, "too large"},
		} {
			answer := a.call(t, "POST", "/api/rollups", c.body)
			require.Equal(t, c.status, answer.status, "%.80s: %s", c.body, answer.body)
			require.Contains(t, answer.body, c.detail)
			require.Less(t, len(answer.body), 400)
		}
		for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ";"} {
			answer := a.call(t, "POST", "/api/rollups", `{"date":"2026-03-01"}`, header("Content-Type", kind))
			require.Equal(t, http.StatusUnsupportedMediaType, answer.status, kind)
		}
		require.Zero(t, a.count(t, "SELECT count(*) FROM analytics.rollup_requests"))
		require.Zero(t, a.count(t, "SELECT count(*) FROM daymill.audit"))
	})

	t.Run("RequestsEntities", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		body := `{"date":"2026-02-28","entities":["7","12","7"]}`
		a.requireValid(t, "POST", "/api/rollups", body)
		require.Equal(t, http.StatusAccepted, a.call(t, "POST", "/api/rollups", body).status)
		require.Equal(t, "{12,7}", a.text(t, "SELECT entities::text FROM analytics.rollup_requests WHERE entities IS NOT NULL"))
		for _, body := range []string{
			`{"date":"2026-02-28","entities":["x"]}`, `{"from":"2026-02-01","to":"2026-02-28","entities":["7"]}`,
		} {
			require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "POST", "/api/rollups", body).status, body)
		}
	})
	t.Run("Requests", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		body := `{"date":"2026-03-10"}`
		a.requireValid(t, "POST", "/api/rollups", body)
		answer := a.call(t, "POST", "/api/rollups", body, header("Content-Type", "application/json; charset=utf-8"))
		require.Equal(t, http.StatusAccepted, answer.status, answer.body)
		require.JSONEq(t, `{"dates":1,"from":"2026-03-10","to":"2026-03-10"}`, answer.body)
		body = `{"from":"2026-02-01","to":"2026-02-28"}`
		a.requireValid(t, "POST", "/api/rollups", body)
		answer = a.call(t, "POST", "/api/rollups", body, basic("admin", adminPassword))
		require.JSONEq(t, `{"dates":28,"from":"2026-02-01","to":"2026-02-28"}`, answer.body)
		require.Equal(t, "2026-03-10 api api", a.text(t, `SELECT concat_ws(' ', metric_date, requested_by, requested_via)
			FROM analytics.rollup_requests WHERE metric_date > '2026-03-01'`))
		require.EqualValues(t, 28, a.count(t, "SELECT count(*) FROM analytics.rollup_requests WHERE requested_by = 'admin' AND requested_via = 'api'"))
		require.Equal(t, "api api request dates 2026-03-10, admin api request dates 2026-02-01..2026-02-28",
			a.text(t, "SELECT string_agg(concat_ws(' ', actor, via, action, target), ', ' ORDER BY id) FROM daymill.audit"))
	})
}

func TestAPIBackfills(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), func(c *ui.Config) { c.BasePath = "" })
	for body, detail := range map[string]string{
		`{}`: "first and a last date", `{"from":"2026-03-01","to":"2026-03-10"}`: "dates that are over",
		`{"from":"2026-03-01","to":"2026-03-02","in_flight":0}`:       "from 1 to 100",
		`{"from":"2026-03-01","to":"2026-03-02","in_flight":101}`:     "from 1 to 100",
		`{"from":"2026-03-01","to":"2026-03-02","pause_seconds":-1}`:  "24 hours",
		`{"from":"2026-03-01","to":"2026-03-02","pause_seconds":1e9}`: "24 hours",
		`{"from":"2026-03-05","to":"2026-03-02"}`:                     "reversed",
	} {
		answer := a.call(t, "POST", "/api/backfills", body)
		require.Equal(t, http.StatusUnprocessableEntity, answer.status, body)
		require.Contains(t, answer.body, detail)
	}
	require.Equal(t, http.StatusBadRequest, a.call(t, "POST", "/api/backfills", `{"from":"2026-03-01","to":"2026-03-02","in_flight":1.5}`).status)
	require.Zero(t, a.count(t, "SELECT count(*) FROM analytics.backfills"))

	body := `{"from":"2026-02-01","to":"2026-02-03","newest_first":true,"every_date":true,"in_flight":3,"pause_seconds":1.5}`
	a.requireValid(t, "POST", "/api/backfills", body)
	answer := a.call(t, "POST", "/api/backfills", body)
	require.Equal(t, http.StatusCreated, answer.status, answer.body)
	again := a.call(t, "GET", answer.header.Get("Location"), "")
	require.Equal(t, http.StatusOK, again.status)
	require.JSONEq(t, answer.body, again.body)
	require.Equal(t, "running 2026-02-01 2026-02-03 t t 3 1500 api api", a.text(t, `SELECT concat_ws(' ', state, first_date,
		last_date, newest_first, every_date, in_flight, pause_ms, requested_by, requested_via) FROM analytics.backfills`))
	require.EqualValues(t, 3, a.count(t, "SELECT count(*) FROM analytics.backfill_dates"))
	require.Equal(t, "api api start backfill", a.text(t, "SELECT concat_ws(' ', actor, via, action) FROM daymill.audit"))
	// Parallel calls with one key, and later ones, are one backfill.
	body = `{"from":"2026-02-05","to":"2026-02-06"}`
	a.requireValid(t, "POST", "/api/backfills", body)
	locations := make(chan string)
	for range 8 {
		go func() {
			locations <- a.call(t, "POST", "/api/backfills", body, header("Idempotency-Key", "k1")).header.Get("Location") //nolint:testifylint // Without an answer, the test waits for it until its time is over.
		}()
	}
	location := <-locations
	for range 7 {
		require.Equal(t, location, <-locations)
	}
	require.EqualValues(t, 1, a.count(t, "SELECT count(*) FROM analytics.backfills WHERE first_date = '2026-02-05' AND request_key = 'k1'"))
	require.NotEqual(t, location, a.call(t, "POST", "/api/backfills", body, header("Idempotency-Key", "k1"), basic("admin", adminPassword)).header.Get("Location"))
	other := a.call(t, "POST", "/api/backfills", `{"from":"2026-02-05","to":"2026-02-07"}`, header("Idempotency-Key", "k1"))
	require.Equal(t, http.StatusUnprocessableEntity, other.status)
	require.Contains(t, other.body, "used for another backfill")
	require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "POST", "/api/backfills", body, header("Idempotency-Key", strings.Repeat("k", 201))).status)
	for _, id := range []string{"999", "0", "-1", "x", "9223372036854775807", "99999999999999999999", "%2F"} {
		require.Equal(t, http.StatusNotFound, a.call(t, "GET", "/api/backfills/"+id, "").status, id)
	}
}

func TestAPIDates(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), nil)
	require.JSONEq(t, `{"dates":[],"next_cursor":null}`, a.call(t, "GET", "/api/dates", "").body)
	_, err := a.db.Exec(t.Context(), `INSERT INTO analytics.rollup_dates
		(metric_date, state, run_id, scan_run_id, completed_at, complete_run_id, events, entities)
		SELECT '2026-01-01'::date + d, 'complete', 1, 1, '2026-03-09', 1, 10, 2 FROM generate_series(0, 39) AS d;
		INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-01-05')`)
	require.NoError(t, err)
	var got []string
	cursor := ""
	for {
		var page struct {
			Dates []struct {
				Date         string `json:"date"`
				State        string `json:"state"`
				OpenRequests int    `json:"open_requests"`
			} `json:"dates"`
			NextCursor *string `json:"next_cursor"`
		}
		answer := a.call(t, "GET", "/api/dates?limit=15&from=2026-01-02&to=2026-12-31&cursor="+cursor, "")
		require.NoError(t, json.Unmarshal([]byte(answer.body), &page))
		for _, d := range page.Dates {
			got = append(got, d.Date)
			require.Equal(t, map[bool]string{true: "requested", false: "complete"}[d.OpenRequests == 1], d.State)
		}
		if page.NextCursor == nil {
			break
		}
		require.Len(t, page.Dates, 15)
		cursor = *page.NextCursor
	}
	require.Len(t, got, 39)
	require.Equal(t, "2026-01-02", got[0])
	require.IsIncreasing(t, got)
	require.Contains(t, a.call(t, "GET", "/api/dates?state=requested", "").body, `[{"date":"2026-01-05"`)
	for _, query := range []string{
		"from=yesterday", "to=2026-02-30", "cursor=%00", "limit=0", "limit=1001", "limit=x", "state=<script>", "from=2026-02-02&to=2026-02-01",
	} {
		require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "GET", "/api/dates?"+query, "").status, query)
	}
}

func TestAPIDailyRollup(t *testing.T) {
	t.Parallel()

	t.Run("Secret", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		const path = "/api/cron/daily-rollup"
		for _, wrong := range []callOption{
			bearer("token"), bearer("cron secre"), basic("admin", adminPassword), func(r *http.Request) { r.Header.Del("Authorization") },
		} {
			require.Equal(t, http.StatusUnauthorized, a.call(t, "GET", path, "", wrong).status)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, a.URL+path, nil)
		require.NoError(t, err)
		bearer("cron secret")(request)
		require.Equal(t, http.StatusMethodNotAllowed, a.do(t, request).status)
		require.Zero(t, a.count(t, "SELECT count(*) FROM river_job"))

		answer := a.call(t, "GET", path, "", bearer("cron secret"))
		require.Equal(t, http.StatusAccepted, answer.status)
		require.JSONEq(t, `{"enqueued":true}`, answer.body)
		for range 3 {
			require.JSONEq(t, `{"enqueued":false}`, a.call(t, "GET", path, "", bearer("cron secret")).body)
		}
		require.Equal(t, `daily_rollup {"requested_via": "cron"}`, a.text(t, "SELECT string_agg(kind || ' ' || args, ', ') FROM river_job"))
		require.Equal(t, "cron cron run schedule daily_rollup",
			a.text(t, "SELECT string_agg(concat_ws(' ', actor, via, action, target), ', ') FROM daymill.audit"))
	})

	t.Run("Unset", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), func(c *ui.Config) { c.Access.CronSecret = "" })
		for _, option := range []callOption{bearer(""), bearer("token"), func(r *http.Request) { r.Header.Del("Authorization") }} {
			answer := a.call(t, "GET", "/api/cron/daily-rollup", "", option)
			require.Equal(t, http.StatusServiceUnavailable, answer.status)
			require.Contains(t, answer.body, "set CRON_SECRET")
		}
	})
}

func TestAPIBackfillList(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), nil)
	for _, first := range []string{"2026-02-01", "2026-02-11", "2026-02-21"} {
		require.Equal(t, http.StatusCreated, a.call(t, "POST", "/api/backfills", `{"from":"`+first+`","to":"2026-02-25"}`).status)
	}
	var listed struct {
		Backfills []struct {
			ID    int64  `json:"id"`
			State string `json:"state"`
		} `json:"backfills"`
		Next *string `json:"next_cursor"`
	}
	list := func(query string) {
		listed.Next = nil
		require.NoError(t, json.Unmarshal([]byte(a.call(t, "GET", "/api/backfills"+query, "").body), &listed))
	}
	list("?limit=2")
	require.Len(t, listed.Backfills, 2)
	newest := listed.Backfills[0].ID
	require.Equal(t, newest-1, listed.Backfills[1].ID)
	require.NotNil(t, listed.Next)
	list("?limit=2&cursor=" + *listed.Next)
	require.Len(t, listed.Backfills, 1)
	require.Equal(t, newest-2, listed.Backfills[0].ID)
	require.Nil(t, listed.Next)
	for _, query := range []string{"?limit=0", "?limit=1001", "?cursor=x", "?cursor=0"} {
		require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "GET", "/api/backfills"+query, "").status, query)
	}

	one := "/api/backfills/" + strconv.FormatInt(newest, 10)
	for _, c := range []struct {
		verb   string
		status int
		want   string
	}{
		{"pause", 200, `"state":"paused"`},
		{"pause", 200, `"state":"paused"`},
		{"resume", 200, `"state":"running"`},
		{"cancel", 200, `"state":"cancelled"`},
		{"resume", 422, "has ended"},
	} {
		answer := a.call(t, "POST", one+"/"+c.verb, "{}")
		require.Equal(t, c.status, answer.status, c.verb)
		require.Contains(t, answer.body, c.want, c.verb)
	}
	require.Equal(t, http.StatusNotFound, a.call(t, "POST", "/api/backfills/999/pause", "{}").status)
	require.Equal(t, http.StatusBadRequest, a.call(t, "POST", one+"/pause", `{"x":1}`).status)
	viewer := basic("viewer", viewerPassword)
	require.Equal(t, http.StatusForbidden, a.call(t, "POST", one+"/pause", "{}", viewer).status)
	require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/backfills", "", viewer).status)
	require.EqualValues(t, 1, a.count(t, "SELECT count(*) FROM daymill.audit WHERE action = 'cancel backfill' AND via = 'api' AND actor = 'api'"))
}
