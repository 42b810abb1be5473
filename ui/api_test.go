package ui_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
	"github.com/daymill/daymill/ui/door"
)

// api serves the API over a test's database. Each answer is checked against the API's own document.
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
	doc.Servers = nil // The test's server has another address.
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

// requireDocumented checks the status, type and body of an answer against the document.
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

// requireValid checks a successful request against the document.
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
		a := newAPI(t, database(t), func(c *ui.Config) { c.Access = door.Access{} })
		require.Equal(t, http.StatusAccepted, a.call(t, "POST", "/api/rollups", `{"date":"2026-03-01"}`, none).status)
		require.Equal(t, http.StatusForbidden, a.call(t, "GET", "/api/dates", "", none, func(r *http.Request) { r.Host = "evil.example" }).status)
		// With a token, the pages are closed as well.
		a = newAPI(t, database(t), func(c *ui.Config) { c.Access = door.Access{APIToken: "token"} })
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
		require.Equal(t, http.StatusTooManyRequests, answer.status, "otherwise guessing could continue")
		require.NotEmpty(t, answer.header.Get("Retry-After"))
		require.Equal(t, http.StatusAccepted, a.call(t, "GET", "/api/cron/daily-rollup", "", bearer("cron secret")).status, "each credential has its own limit")
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
		require.Equal(t, http.StatusOK, a.call(t, "GET", "/api/dates", "", bearer(token)).status, "however many guesses others made")
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

// count returns the number that a query returns.
func (s *site) count(t *testing.T, query string) (n int64) {
	t.Helper()
	require.NoError(t, s.db.QueryRow(t.Context(), query).Scan(&n))
	return n
}

// text returns the text that a query returns.
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
		"/api/rollups": "POST", "/api/backfills": "GET, HEAD, POST", "/api/backfills/1": "GET, HEAD", "/api/dates": "GET, HEAD",
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

// TestAPIBehindProxy: the API works at a base path.
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

// TestAPIDown: the API answers without its database.
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
