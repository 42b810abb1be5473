package ui_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

// api is the API over a test's database, each of whose answers is held against the document that it serves.
type api struct {
	*site

	router routers.Router
}

func newAPI(t *testing.T, db *pgtest.DB, change func(*ui.Config)) *api {
	t.Helper()
	s := serve(t, db, change)
	s.clock.set(time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/openapi.json", nil)
	require.NoError(t, err)
	doc, err := openapi3.NewLoader().LoadFromData([]byte(s.do(t, request).body))
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	doc.Servers = nil // It is at the test's address.
	router, err := gorillamux.NewRouter(doc)
	require.NoError(t, err)
	return &api{site: s, router: router}
}

type callOption func(r *http.Request)

func bearer(token string) callOption {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func basic(user, password string) callOption {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func header(name, value string) callOption {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// call makes a call with the token, unless an option says otherwise.
func (a *api) call(t *testing.T, method, path, body string, options ...callOption) response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer token")
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, option := range options {
		option(request)
	}
	answer := a.do(t, request)
	a.requireDocumented(t, request, answer)
	return answer
}

// requireDocumented holds an answer against the document: status, type, body.
func (a *api) requireDocumented(t *testing.T, request *http.Request, answer response) {
	t.Helper()
	if answer.status >= 400 {
		require.Equal(t, "application/problem+json", answer.header.Get("Content-Type"), answer.body)
		var problem struct {
			Type   string `json:"type"`
			Title  string `json:"title"`
			Detail string `json:"detail"`
			Status int    `json:"status"`
		}
		require.NoError(t, json.Unmarshal([]byte(answer.body), &problem), answer.body)
		require.Equal(t, answer.status, problem.Status)
		require.Equal(t, "about:blank", problem.Type)
		require.Equal(t, http.StatusText(answer.status), problem.Title)
		require.Regexp(t, `^[\p{Lu}\d"].* .*\.$`, problem.Detail, "a sentence")
	}
	require.Equal(t, "nosniff", answer.header.Get("X-Content-Type-Options"))
	if request.Method == http.MethodHead {
		return
	}
	clean := request.Clone(t.Context())
	route, params, err := a.router.FindRoute(clean)
	if answer.status == http.StatusMethodNotAllowed {
		require.NotEmpty(t, answer.header.Get("Allow"))
		return
	}
	if err != nil {
		require.Equal(t, http.StatusNotFound, answer.status, "%s %s is not documented", request.Method, request.URL)
		return
	}
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: clean, PathParams: params, Route: route},
		Status:                 answer.status, Header: answer.header, Body: io.NopCloser(strings.NewReader(answer.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	require.NoError(t, err, "%s %s: %s", request.Method, request.URL, answer.body)
}

// requireValid holds a request that was answered well against the document.
func (a *api) requireValid(t *testing.T, method, path, body string) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, a.URL+path, bytes.NewReader([]byte(body)))
	request.Header.Set("Content-Type", "application/json")
	route, params, err := a.router.FindRoute(request)
	require.NoError(t, err)
	require.NoError(t, openapi3filter.ValidateRequest(t.Context(), &openapi3filter.RequestValidationInput{
		Request: request, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}))
}

func TestAPIAccess(t *testing.T) {
	t.Parallel()

	t.Run("Bearer", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/dates", "").status)
		require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/dates", "", header("Authorization", "bearer token")).status)
		require.Equal(t, http.StatusOK, a.call(t, "HEAD", "/api/dates", "").status)
		for _, wrong := range []callOption{
			bearer(""), bearer("Token"), bearer("token2"), bearer(adminPassword), bearer("cron secret"), header("Authorization", "token"),
			basic("api", "token"), basic("admin", "token"), header("Authorization", "Basic %%%"),
		} {
			answer := a.call(t, "GET", "/api/dates", "", wrong)
			require.Equal(t, http.StatusUnauthorized, answer.status)
			require.Contains(t, answer.header.Get("WWW-Authenticate"), "Bearer")
		}
	})

	t.Run("CrossSite", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		answer := a.call(t, "POST", "/api/rollups", `{"date":"2026-03-01"}`, header("Origin", "https://evil.example"))
		require.Equal(t, http.StatusForbidden, answer.status)
		require.Zero(t, a.count(t, "SELECT count(*) FROM analytics.rollup_requests"))
	})

	t.Run("NoTokenSet", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), func(c *ui.Config) { c.Access.APIToken = "" })
		require.Equal(t, http.StatusUnauthorized, a.call(t, "GET", "/api/dates", "", bearer("")).status)
		require.Equal(t, http.StatusUnauthorized, a.call(t, "GET", "/api/dates", "", func(r *http.Request) { r.Header.Del("Authorization") }).status)
		require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/dates", "", basic("admin", adminPassword)).status)
	})

	t.Run("Open", func(t *testing.T) {
		t.Parallel()
		none := func(r *http.Request) { r.Header.Del("Authorization") }
		a := newAPI(t, database(t), func(c *ui.Config) { c.Access = ui.Access{} })
		require.Equal(t, http.StatusAccepted, a.call(t, "POST", "/api/rollups", `{"date":"2026-03-01"}`, none).status)
		require.Equal(t, http.StatusForbidden, a.call(t, "GET", "/api/dates", "", none, func(r *http.Request) { r.Host = "evil.example" }).status)
		// A token is a wish for credentials, though the pages have none.
		// All or nothing: with a token the pages are closed as well.
		a = newAPI(t, database(t), func(c *ui.Config) { c.Access = ui.Access{APIToken: "token"} })
		require.Equal(t, http.StatusUnauthorized, a.call(t, "GET", "/api/dates", "", none).status)
		require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/dates", "").status)
		for _, path := range []string{"/", "/dates", "/doctor"} {
			answer := a.do(t, a.request(t, "", "GET", path, ""))
			require.Equal(t, http.StatusForbidden, answer.status)
			require.Contains(t, answer.body, "set DAYMILL_ADMIN_PASSWORD")
		}
	})

	t.Run("Throttled", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		for range 10 {
			require.Equal(t, http.StatusUnauthorized, a.call(t, "GET", "/api/dates", "", bearer("guess")).status)
		}
		answer := a.call(t, "GET", "/api/dates", "")
		require.Equal(t, http.StatusTooManyRequests, answer.status, "or the guesses would go on")
		require.NotEmpty(t, answer.header.Get("Retry-After"))
		require.Equal(t, http.StatusAccepted, a.call(t, "GET", "/api/cron/daily-rollup", "", bearer("cron secret")).status, "each credential counts for itself")
		require.Equal(t, http.StatusOK, a.get(t, "/").status)
	})

	t.Run("TokenNotThrottled", func(t *testing.T) {
		t.Parallel()
		token := "8f2c0d9a41b7e6355a1c9d0e7f3b2a64"
		a := newAPI(t, database(t), func(c *ui.Config) { c.Access.APIToken = token })
		for range 30 {
			a.call(t, "GET", "/api/dates", "", bearer("guess"))
			a.call(t, "GET", "/api/dates", "", basic("admin", "guess"))
		}
		require.Equal(t, http.StatusTooManyRequests, a.call(t, "GET", "/api/dates", "", bearer("guess")).status)
		require.Equal(t, http.StatusTooManyRequests, a.get(t, "/").status, "pages and API count passwords together")
		require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/dates", "", bearer(token)).status, "whatever others have guessed")
	})

	t.Run("Viewer", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		viewer := basic("viewer", viewerPassword)
		require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/dates", "", viewer).status)
		require.Equal(t, http.StatusForbidden, a.call(t, "POST", "/api/rollups", `{"date":"2026-03-01"}`, viewer).status)
		require.Equal(t, http.StatusForbidden, a.call(t, "POST", "/api/backfills", `{"from":"2026-03-01","to":"2026-03-02"}`, viewer).status)
		require.Zero(t, a.count(t, "SELECT (SELECT count(*) FROM analytics.rollup_requests) + (SELECT count(*) FROM analytics.backfills)"))
	})
}

// count is the number that a query returns.
func (s *site) count(t *testing.T, query string) (n int64) {
	t.Helper()
	require.NoError(t, s.db.QueryRow(t.Context(), query).Scan(&n))
	return n
}

// text is the text that a query returns.
func (s *site) text(t *testing.T, query string) (text string) {
	t.Helper()
	require.NoError(t, s.db.QueryRow(t.Context(), query).Scan(&text))
	return text
}

func TestAPIRouting(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), func(c *ui.Config) { c.BasePath = "" })
	require.Equal(t, http.StatusNotFound, a.call(t, "GET", "/api/", "").status)
	require.Equal(t, http.StatusNotFound, a.call(t, "GET", "/api/nowhere", "").status)
	for path, allow := range map[string]string{
		"/api/rollups": "POST", "/api/backfills": "POST", "/api/backfills/1": "GET, HEAD", "/api/dates": "GET, HEAD",
		"/api/entities/1/metrics": "GET, HEAD", "/api/openapi.json": "GET, HEAD",
	} {
		answer := a.call(t, "PATCH", path, "{}")
		require.Equal(t, http.StatusMethodNotAllowed, answer.status, path)
		require.Equal(t, allow, answer.header.Get("Allow"))
	}
	answer := a.call(t, "POST", "/api/cron/daily-rollup", "", bearer("cron secret"))
	require.Equal(t, http.StatusMethodNotAllowed, answer.status)
	require.Equal(t, "GET", answer.header.Get("Allow"))
}

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

// hostile are ids that somebody will have.
func hostile() []string {
	return []string{
		"<script>alert(1)</script>", `"quoted'`, "a/b", "..", ".", "../../etc/passwd", "a//b/", "=1+1", "-1", "@x", "\tx", "%2F", "?a=b#c",
		"a b", "\u65e5\u672c", "x\ny", "metrics", strings.Repeat("long ", 2000),
	}
}

func textDatabase(t *testing.T, ids ...string) *pgtest.DB {
	t.Helper()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Text, TimeZone: "UTC"})
	for _, id := range ids {
		metrics(t, db, id, "2026-03-01", 2, `{"share": 3, "<b>\"bold\"": 1}`)
		metrics(t, db, id, "2026-03-03", 1000, `{}`)
	}
	return db
}

// metrics writes a row of an entity, of a date that is complete.
func metrics(t *testing.T, db *pgtest.DB, id, day string, views int, other string) {
	t.Helper()
	_, err := db.Exec(t.Context(), `INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, clicks_count, other_counts)
		VALUES ($1::text::analytics.entity_id, $2::text::date, $3, 1, $4::text::jsonb)`, id, day, views, other)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), `INSERT INTO analytics.rollup_dates AS d
		(metric_date, state, run_id, scan_run_id, completed_at, complete_run_id, events, entities)
		VALUES ($1::text::date, 'complete', 1, 1, now(), 1, 1, 1)
		ON CONFLICT (metric_date) DO UPDATE SET entities = d.entities + 1`, day)
	require.NoError(t, err)
}

func TestAPIMetrics(t *testing.T) {
	t.Parallel()

	t.Run("CSV", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, textDatabase(t, "=HYPERLINK(\"x\"),1"), nil)
		path := "/api/entities/" + url.PathEscape("=HYPERLINK(\"x\"),1") + "/metrics"
		answer := a.call(t, "GET", path+"?format=csv", "")
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.header.Get("Content-Type"), "text/csv")
		require.Equal(t, `attachment; filename="daymill-_HYPERLINK__x___1-2026-02-08-2026-03-09.csv"`, answer.header.Get("Content-Disposition"))
		require.Equal(t, "metric_date,entity_id,views_count,clicks_count,saves_count,skips_count,other_counts\n"+
			`2026-03-01,"'=HYPERLINK(""x""),1",2,1,0,0,"{""\u003cb\u003e\""bold\"""":1,""share"":3}"`+"\n"+
			`2026-03-03,"'=HYPERLINK(""x""),1",1000,1,0,0,{}`+"\n", answer.body)
		require.Equal(t, answer.body, a.call(t, "GET", path, "", header("Accept", "text/csv")).body)
		require.Contains(t, a.call(t, "GET", path, "", header("Accept", "application/json, text/csv")).body, `"entity_id"`)
		require.Contains(t, a.call(t, "GET", path+"?format=json", "", header("Accept", "text/csv")).body, `"entity_id"`)
		// Nothing in the range is a file with a heading.
		answer = a.call(t, "GET", path+"?format=csv&from=2020-01-01&to=2020-01-02", "")
		require.Equal(t, 1, strings.Count(answer.body, "\n"))
	})

	t.Run("HostileIDs", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, textDatabase(t, hostile()...), nil)
		for _, id := range hostile() {
			escaped := url.PathEscape(id)
			if strings.Trim(id, ".") == "" {
				escaped = strings.ReplaceAll(id, ".", "%2E")
			}
			answer := a.call(t, "GET", "/api/entities/"+escaped+"/metrics", "")
			require.Equal(t, http.StatusOK, answer.status, "%.40q: %s", id, answer.body)
			var got struct {
				EntityID string `json:"entity_id"`
				Totals   struct {
					Views int `json:"views"`
				} `json:"totals"`
				Metrics []struct {
					Other map[string]int `json:"other"`
				} `json:"metrics"`
			}
			require.NoError(t, json.Unmarshal([]byte(answer.body), &got))
			require.Equal(t, id, got.EntityID)
			require.Equal(t, 1002, got.Totals.Views)
			require.Len(t, got.Metrics, 2)
			require.Equal(t, map[string]int{"share": 3, `<b>"bold"`: 1}, got.Metrics[0].Other)
			require.NotContains(t, answer.body, "<")
		}
		for escaped, status := range map[string]int{
			"a%00b": 422, "%FF": 422, "unknown": 404, strings.Repeat("y", 10_000): 404, "%27%20OR%201%3D1": 404,
		} {
			require.Equal(t, status, a.call(t, "GET", "/api/entities/"+escaped+"/metrics", "").status, "%.40s", escaped)
		}
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		a := newAPI(t, database(t), nil)
		metrics(t, a.db, "-7", "2026-03-01", 1, "{}")
		require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/entities/-7/metrics?from=2026-03-01&to=2026-03-01", "").status)
		require.Contains(t, a.call(t, "GET", "/api/entities/-7/metrics?format=csv", "").body, "2026-03-01,-7,1,")
		for _, path := range []string{
			"x/metrics", "7x/metrics", "7%2F/metrics", "-7/metrics?from=2026-03-01", "-7/metrics?from=2026-03-02&to=2026-03-01",
			"-7/metrics?from=2000-03-02&to=2026-03-01", "-7/metrics?format=xml", "-7/metrics?from=x&to=y",
		} {
			require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "GET", "/api/entities/"+path, "").status, path)
		}
	})
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

// TestAPIBehindProxy is the API at a base path.
func TestAPIBehindProxy(t *testing.T) {
	t.Parallel()
	s := serve(t, textDatabase(t, "a/b"), func(c *ui.Config) { c.BasePath = "/daymill" })
	s.clock.set(time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC))
	request := s.request(t, "admin", "POST", "/daymill/api/backfills", `{"from":"2026-02-01","to":"2026-02-03"}`)
	request.Header.Set("Content-Type", "application/json")
	require.Equal(t, "/daymill/api/backfills/1", s.do(t, request).header.Get("Location"))
	require.Equal(t, http.StatusOK, s.get(t, "/daymill/api/backfills/1").status)
	require.Contains(t, s.get(t, "/daymill/api/entities/a%2Fb/metrics").body, `"entity_id":"a/b"`)
	require.Contains(t, s.get(t, "/daymill/api/nowhere").body, `"status":404`)
}

// TestAPIDown is the API without its database.
func TestAPIDown(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), nil)
	a.db.Close()
	for _, path := range []string{"/api/dates", "/api/backfills/1", "/api/entities/1/metrics"} {
		answer := a.call(t, "GET", path, "")
		require.Equal(t, http.StatusInternalServerError, answer.status, path)
		require.NotContains(t, answer.body, "pool")
	}
	require.Equal(t, http.StatusInternalServerError, a.call(t, "POST", "/api/rollups", `{"date":"2026-03-01"}`).status)
	require.Equal(t, http.StatusInternalServerError, a.call(t, "GET", "/api/cron/daily-rollup", "", bearer("cron secret")).status)
}
