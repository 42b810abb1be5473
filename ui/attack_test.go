package ui_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/ui"
)

// raw sends bytes, and returns the first answer; the status is 0 if the connection ends without one.
func (s *site) raw(t *testing.T, text string) response {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, _ = io.WriteString(conn, text) // The server may close the connection before it has read everything.
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return response{header: http.Header{}}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return response{status: answer.StatusCode, header: answer.Header, body: string(body)}
}

// admin is the header of the admin's credentials.
const admin = "Authorization: Basic YWRtaW46Y29ycmVjdCBob3JzZQ==\r\n"

// TestRequestLine sends request lines that no browser sends: no answer comes from outside the pages, and no redirect leads elsewhere.
func TestRequestLine(t *testing.T) {
	t.Parallel()
	s, faults := hostileSite(t, entity.Text)
	based := serve(t, s.db, func(c *ui.Config) { c.BasePath = "/daymill" })
	for _, base := range []string{"", "/daymill"} {
		at := map[string]*site{"": s, "/daymill": based}[base]
		for _, path := range []string{
			"//evil.example/", "///evil.example", "//evil.example/%2e%2e", `/\evil.example`, `/\/evil.example/`, "/%2f%2fevil.example/",
			"/%5cevil.example", "/./", "/../", "/..//evil.example/", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "/assets", "/api", "//dates", "//daymill//dates", "/dates/..//jobs/?a=b", "/assets/../ui.go",
			"/assets/%2e%2e/ui.go", "/assets/..%2fui.go", "/assets/", "/assets//etc/passwd", "/assets/%00", "/%00", "/dates/%00",
			"/dates/2026-03-01%00", "/dates/2026-03-01/", "/dates//evil.example", "/jobs/1%2f..%2f2", "/jobs/%0d%0aEvil:%201", "/dates/%0d%0aEvil:%201",
			"/?%0d%0aEvil:%201", "/dates/2026-03-01%0d%0aEvil:%201", "/%ff%fe", "/;/dates", "/dates;x=y", "/api/../dates", "/api//dates", "/api/%2e%2e/dates",
			"/api/entities/..%2f..%2f/metrics", "/api/entities/%00/metrics", "/dates?a;b=%zz&%", "/debug/pprof/", "/.env", "/.git/config", "/metrics",
		} {
			answer := at.raw(t, "GET "+base+path+" HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n"+admin+"\r\n")
			what := base + path
			require.NotZero(t, answer.status, what)
			require.Less(t, answer.status, 500, what)
			require.NotContains(t, answer.body, "root:", what)
			require.Empty(t, answer.header.Get("Evil"), what)
			if to := answer.header.Get("Location"); to != "" {
				require.Regexp(t, ownAddress, to, what)
				require.True(t, base == "" || strings.HasPrefix(to, base+"/"), "%s leads to %s", what, to)
			}
			if answer.status == http.StatusOK {
				require.Contains(t, answer.header.Get("Content-Security-Policy"), "default-src 'none'", what)
			}
		}
	}
	// Absolute URLs, also of other hosts.
	for _, target := range []string{"http://evil.example/", "http://evil.example//x", "evil.example:443", "*", "javascript:alert(1)", "http://[::1"} {
		answer := s.raw(t, "GET "+target+" HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n"+admin+"\r\n")
		require.Less(t, answer.status, 500, target)
		require.NotContains(t, answer.header.Get("Location"), "evil.example", target)
	}
	require.Zero(t, faults.Load(), "errors in the log")
}

// TestRequestHeaders sends headers that no browser sends, or that only a proxy should set.
func TestRequestHeaders(t *testing.T) {
	t.Parallel()
	s, faults := hostileSite(t, entity.Text)
	get := func(path, headers string) response {
		return s.raw(t, "GET "+path+" HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n"+headers+"\r\n")
	}

	// No header makes a user somebody else, or leads to a host that it names.
	for _, header := range []string{
		"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: //evil.example", "X-Original-URL: /assets/style.css",
		"X-Rewrite-URL: /healthz", "Forwarded: host=evil.example", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Remote-User: admin",
		"Hx-Request: true", "Authorization: Basic", "Authorization: Basic ???", "Authorization: Bearer", "Authorization: Bearer token\r\nAuthorization: Basic eA==",
	} {
		answer := get("/dates", header+"\r\n")
		require.Equal(t, http.StatusUnauthorized, answer.status, header)
		require.NotContains(t, answer.body+answer.header.Get("Location"), "evil.example", header)
		answer = get("//dates", admin+header+"\r\n")
		require.NotContains(t, answer.header.Get("Location"), "evil.example", header)
	}

	// A header cannot change the request's method: nothing changes.
	before := s.count(t, "SELECT count(*) FROM daymill.audit")
	for _, header := range []string{"X-HTTP-Method-Override: POST", "X-HTTP-Method: POST", "X-Method-Override: POST"} {
		require.Equal(t, http.StatusNotFound, get("/dates/2026-03-01/request?_method=POST", admin+header+"\r\n").status, header)
		require.Equal(t, http.StatusMethodNotAllowed, get("/api/rollups?date=2026-03-01", admin+header+"\r\n").status, header)
	}
	for _, method := range []string{"TRACE", "CONNECT", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "get", "POST"} {
		answer := s.raw(t, method+" /dates HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\nContent-Length: 0\r\n"+admin+"\r\n")
		require.GreaterOrEqual(t, answer.status, 400, method)
		require.Less(t, answer.status, 500, method)
	}
	require.Equal(t, before, s.count(t, "SELECT count(*) FROM daymill.audit"))

	// A fragment for htmx is a part of the page that the same user sees, or empty.
	whole := get("/dates", admin)
	for _, target := range []string{"main#dates", "x#", "#", "", "x#<script>alert(1)</script>", "x#" + strings.Repeat("y", 4_000), "x#layout"} {
		answer := get("/dates", admin+"Hx-Request: true\r\nHx-Request-Type: partial\r\nHx-Target: "+target+"\r\n")
		require.Less(t, answer.status, 500, target)
		require.NotContains(t, answer.body, "<script>alert", target)
		require.LessOrEqual(t, len(answer.body), len(whole.body), target)
		require.Equal(t, "no-store", answer.header.Get("Cache-Control"), target)
	}

	// A request for a range of a page returns the page, and one for a thousand ranges of a file returns the file.
	require.Equal(t, http.StatusOK, get("/dates", admin+"Range: bytes=0-0\r\n").status)
	ranges := "bytes=0-" + strings.Repeat(",0-", 1_000)
	asset := get("/assets/style.css", "Range: "+ranges+"\r\n")
	require.Equal(t, http.StatusOK, asset.status)
	require.Equal(t, get("/assets/style.css", "").body, asset.body)

	// Requests whose end two servers would find at different places.
	for name, headers := range map[string]string{
		"TwoLengths":     "Content-Length: 0\r\nContent-Length: 5\r\n",
		"NegativeLength": "Content-Length: -1\r\n",
		"ListOfLengths":  "Content-Length: 0, 5\r\n",
		"OddEncoding":    "Transfer-Encoding: chunked, identity\r\n",
		"TwoHosts":       "Host: evil.example\r\n",
		"SpaceInName":    "Content-Length : 5\r\n",
		"BareNewline":    "X: a\nEvil : b\r\n",
		"NUL":            "X: a\x00b\r\n",
	} {
		answer := s.raw(t, "POST /dates/2026-03-01/request HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n"+admin+headers+"\r\n")
		require.GreaterOrEqual(t, answer.status, 400, name)
		require.Less(t, answer.status, 502, name) // 501 is for an unknown transfer encoding.
	}
	require.Equal(t, http.StatusBadRequest, s.raw(t, "GET / HTTP/1.1\r\n\r\n").status, "no host")
	require.Equal(t, before, s.count(t, "SELECT count(*) FROM daymill.audit"))
	require.Zero(t, faults.Load(), "errors in the log")
}

// TestLargeBodies sends too large bodies, with and without a Content-Length.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	s, faults := hostileSite(t, entity.Text)
	before := s.count(t, "SELECT count(*) FROM daymill.audit")
	for _, r := range routes() {
		if r.method != http.MethodPost {
			continue
		}
		path, rest := r.address(r.values)
		body, kind := rest.Encode()+"&x="+strings.Repeat("x", 1<<20), "application/x-www-form-urlencoded"
		if strings.HasPrefix(r.path, "/api/") {
			body, kind = `{"date":"`+strings.Repeat("x", 1<<20)+`"}`, "application/json"
		}
		for _, chunked := range []bool{false, true} {
			request := s.request(t, "admin", r.method, path, body)
			request.Header.Set("Content-Type", kind)
			if chunked {
				request.ContentLength = -1
			}
			require.Equal(t, http.StatusRequestEntityTooLarge, s.do(t, request).status, "%s, chunked %t", path, chunked)
		}
		require.Equal(t, before, s.count(t, "SELECT count(*) FROM daymill.audit"), path)
		// Deeply nested, many and multipart fields. Actions that need no form succeed.
		for kind, body := range map[string]string{
			"application/json":                         strings.Repeat("[", 60_000),
			"application/x-www-form-urlencoded":        strings.Repeat("a=&", 20_000),
			"multipart/form-data; boundary=x":          strings.Repeat("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n", 1_000),
			"multipart/form-data; boundary=\"é\"":      "x",
			"application/x-www-form-urlencoded; a=\"b": "%zz=%&;;",
		} {
			request := s.request(t, "admin", r.method, path, body)
			request.Header["Content-Type"] = []string{kind}
			answer := s.do(t, request)
			require.Less(t, answer.status, 500, "%s %s: %s", path, kind, answer.body)
		}
		before = s.count(t, "SELECT count(*) FROM daymill.audit")
	}
	require.Zero(t, faults.Load(), "errors in the log")
	header := s.raw(t, "GET / HTTP/1.1\r\nHost: shop.example\r\nX: "+strings.Repeat("x", 2<<20)+"\r\n\r\n")
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, header.status)
}

// TestStored: pages are safe with hostile texts in every table that they show.
func TestStored(t *testing.T) {
	t.Parallel()
	s, faults := hostileSite(t, entity.Text)
	const text = `<script>alert(1)</script>" onmouseover="alert(2)" '&{{.}}`
	for _, sql := range []string{
		`INSERT INTO analytics.daily_entity_metrics (entity_id, metric_date, views_count, other_counts)
			VALUES ($1::text, '2026-03-01', 5, jsonb_build_object($1::text, 3))`,
		`INSERT INTO analytics.top_entities VALUES ('2026-03-01', jsonb_build_object('events', jsonb_build_array(jsonb_build_object('id', $1::text, 'count', 8)),
			'views', jsonb_build_array(jsonb_build_object('id', $1::text, 'count', 5))))`,
		`INSERT INTO analytics.rollup_runs (metric_date, state, worker, error, finished_at) VALUES ('2026-03-01', 'failed', $1::text, $1::text, now())`,
		`INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, complete_run_id, completed_at, events, entities)
			SELECT '2026-03-01', 'failed', 1, 1, 1, now(), 5, 1 WHERE $1::text <> ''`,
		`INSERT INTO analytics.rollup_requests (metric_date, requested_by, requested_via) VALUES ('2026-03-01', $1::text, $1::text)`,
		"INSERT INTO daymill.alerts (finding, level, sentence, command, told_at) VALUES ($1::text, 'bad', $1::text, $1::text, now())",
		`INSERT INTO daymill.alert_messages (channel, alert, event, error) SELECT 'ops', a.id, 'open', $1::text FROM daymill.alerts AS a`,
		`INSERT INTO daymill.audit (actor, via, action, target, detail) VALUES ($1::text, $1::text, $1::text, $1::text, jsonb_build_object($1::text, $1::text))`,
		`INSERT INTO daymill.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower, followers)
			VALUES ($1::text, $1::text, 1, 1, 1, 1, 1, 1, true, jsonb_build_array(jsonb_build_object('number', 1, 'problem', $1::text)))`,
		`INSERT INTO analytics.verifications (metric_date, result, drifted_entities, events_counted, started_at, requested_by, requested_via, drifts)
			VALUES ('2026-03-01', 'drifted', 1, 3, now(), $1::text, $1::text, jsonb_build_array(jsonb_build_object('entity', $1::text,
				'stored', jsonb_build_object('views', 1, 'clicks', 0, 'saves', 0, 'skips', 0, 'other', jsonb_build_object($1::text, 1)), 'counted', NULL)))`,
		"UPDATE analytics.backfills SET requested_by = $1::text, requested_via = $1::text",
		`UPDATE river_job SET state = 'discarded', finalized_at = now(), attempt = 1, attempted_by = ARRAY[$1::text],
			args = args || jsonb_build_object($1::text, $1::text), metadata = jsonb_build_object('output', $1::text),
			errors = ARRAY[jsonb_build_object('at', now(), 'attempt', 1, 'error', $1::text, 'trace', $1::text)]`,
	} {
		_, err := s.db.Exec(t.Context(), sql, text)
		require.NoError(t, err, sql)
	}
	shown := 0
	for _, path := range []string{
		"/", "/alerts", "/audit", "/backfills", "/backfills/1", "/dates", "/dates?state=failed", "/dates/2026-03-01", "/doctor", "/entities", "/schedule",
		"/jobs", "/jobs/1", "/jobs?q=alert", "/verifications", "/jobs/bulk?action=retry",
		"/entity?id=%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%20onmouseover%3D%22alert(2)%22%20%27%26%7B%7B.%7D%7D&from=2026-03-01&to=2026-03-02",
	} {
		answer := s.get(t, path)
		require.Equal(t, http.StatusOK, answer.status, path)
		require.NotContains(t, answer.body, "<script>alert", path)
		require.NotContains(t, answer.body, `" onmouseover="`, path)
		shown += strings.Count(answer.body, "&lt;script&gt;alert")
	}
	require.Greater(t, shown, 20, "otherwise the pages showed none of the texts")
	require.Zero(t, faults.Load(), "errors in the log")
	download := s.get(t, "/entity.csv?id=%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%20onmouseover%3D%22alert(2)%22%20%27%26%7B%7B.%7D%7D"+
		"&from=2026-03-01&to=2026-03-02")
	require.Equal(t, "text/csv; charset=utf-8; header=present", download.header.Get("Content-Type"))
	require.Regexp(t, `^attachment; filename="[A-Za-z0-9_.-]+"$`, download.header.Get("Content-Disposition"))
}
