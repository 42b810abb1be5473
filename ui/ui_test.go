package ui_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/rollup/checkup"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/telemetry"
	"github.com/daymill/daymill/internal/test/browser"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/ui"
	"github.com/daymill/daymill/ui/door"
)

func TestMain(m *testing.M) { pgtest.Main(m, browser.Stop) }

const (
	adminPassword  = "correct horse"
	viewerPassword = "battery staple"
)

// site serves the pages over a test's database.
type site struct {
	*httptest.Server

	db    *pgtest.DB
	clock *testClock
}

// testClock is the system's clock until it is set.
type testClock struct {
	pace.SystemClock

	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.IsZero() {
		return time.Now()
	}
	return c.now
}

func (c *testClock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// serve serves the pages over a database with the passwords of the tests, unless change says otherwise.
func serve(t *testing.T, db *pgtest.DB, change func(*ui.Config)) *site {
	t.Helper()
	installation, err := schema.Get(t.Context(), db.DB)
	require.NoError(t, err)
	admin, err := worker.NewAdmin(db.DB, installation)
	require.NoError(t, err)
	clock := &testClock{}
	config := ui.Config{
		DB: db.DB, Installation: installation, Jobs: admin, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Clock: clock,
		Access: door.Access{AdminPassword: adminPassword, ViewerPassword: viewerPassword, APIToken: "token", CronSecret: "cron secret"},
		Ready:  func(ctx context.Context) error { return db.Ping(ctx) },
		Views:  &view.Engine{DB: db.DB, Databases: &view.Databases{DB: db.DB, URL: db.URL, Lookup: os.LookupEnv}},
		Doctor: func(ctx context.Context) doctor.Report {
			found := doctor.River{Schema: installation.RiverSchema}
			found.Applied, found.Newest, found.Err = worker.RiverVersions(ctx, db.Pool, found.Schema)
			return doctor.Look(ctx, doctor.Config{DB: db.DB, Clock: pace.SystemClock{}, PoolSize: 6, River: found, Discreet: true, Checks: checkup.Checks()})
		},
	}
	if change != nil {
		change(&config)
	}
	server := httptest.NewServer(ui.Handler(config))
	t.Cleanup(server.Close)
	return &site{Server: server, db: db, clock: clock}
}

// database returns a database with entities of type bigint, in UTC.
func database(t *testing.T) *pgtest.DB {
	t.Helper()
	return pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
}

// response is an answer with its body.
type response struct {
	status int
	header http.Header
	body   string
}

// notice returns the name of the notice that the next page shows.
func (r response) notice() string {
	for _, cookie := range (&http.Response{Header: r.header}).Cookies() {
		if cookie.Name == "daymill_notice" {
			return cookie.Value
		}
	}
	return ""
}

// follow loads the page that an answer redirects to, with its notice, as the admin.
func (s *site) follow(t *testing.T, answer response) response {
	t.Helper()
	request := s.request(t, "admin", http.MethodGet, answer.header.Get("Location"), "")
	request.AddCookie(&http.Cookie{Name: "daymill_notice", Value: answer.notice()})
	return s.do(t, request)
}

// do sends a request without following redirects.
func (s *site) do(t *testing.T, request *http.Request) response {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return response{status: answer.StatusCode, header: answer.Header, body: string(body)}
}

// request returns a request of a user, without credentials if the user is empty.
func (s *site) request(t *testing.T, user, method, path string, body string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	switch user {
	case "admin":
		request.SetBasicAuth(user, adminPassword)
	case "viewer":
		request.SetBasicAuth(user, viewerPassword)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return request
}

// get loads a page as the admin.
func (s *site) get(t *testing.T, path string) response {
	t.Helper()
	return s.do(t, s.request(t, "admin", http.MethodGet, path, ""))
}

// post sends a form as the admin.
func (s *site) post(t *testing.T, path, form string) response {
	t.Helper()
	return s.do(t, s.request(t, "admin", http.MethodPost, path, form))
}

func TestAccess(t *testing.T) {
	t.Parallel()

	t.Run("BasePath", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), func(c *ui.Config) { c.BasePath = "/daymill" })
		answer := s.get(t, "/daymill/")
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, `href="/daymill/dates"`)
		require.Contains(t, answer.body, `href="/daymill/assets/style.css?v=`)
		require.Equal(t, http.StatusOK, s.get(t, "/daymill/assets/style.css").status)
		require.Equal(t, http.StatusNotFound, s.get(t, "/dates").status)
		require.Equal(t, http.StatusNotFound, s.get(t, "/daymillx/dates").status)
		require.Equal(t, "/daymill/", s.get(t, "/daymill").header.Get("Location"))
		require.Equal(t, http.StatusOK, s.do(t, s.request(t, "", http.MethodGet, "/healthz", "")).status)
		require.Equal(t, http.StatusOK, s.do(t, s.request(t, "", http.MethodGet, "/daymill/readyz", "")).status)
	})

	t.Run("CrossSite", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		for name, mark := range map[string]func(r *http.Request){
			"Sec-Fetch-Site": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
			"SameSite":       func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
			"Origin":         func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
			"NullOrigin":     func(r *http.Request) { r.Header.Set("Origin", "null") },
		} {
			request := s.request(t, "admin", http.MethodPost, "/dates/2026-03-01", "action=request")
			mark(request)
			answer := s.do(t, request)
			require.Equal(t, http.StatusForbidden, answer.status, name)
			require.Contains(t, answer.body, "another site", name)
		}
	})

	t.Run("HostRewritten", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		for _, path := range []string{"/dates/2026-03-01/request", "/api/rollups"} {
			request := s.request(t, "admin", http.MethodPost, path, "")
			request.Header.Set("Origin", "http://shop.example")
			answer := s.do(t, request)
			require.Equal(t, http.StatusForbidden, answer.status)
			require.Contains(t, answer.body, "proxy_set_header Host $http_host")
			request.Header.Set("Sec-Fetch-Site", "cross-site")
			require.NotContains(t, s.do(t, request).body, "proxy")
		}
	})

	t.Run("HSTS", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		request := s.request(t, "admin", http.MethodGet, "/", "")
		require.Empty(t, s.do(t, request).header.Get("Strict-Transport-Security"))
		request.Header.Set("X-Forwarded-Proto", "https")
		require.Equal(t, "max-age=31536000", s.do(t, request).header.Get("Strict-Transport-Security"))
	})

	t.Run("Headers", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		for _, path := range []string{"/", "/nowhere", "/assets/style.css", "/api/nowhere", "/healthz"} {
			header := s.get(t, path).header
			policy := header.Get("Content-Security-Policy")
			require.Contains(t, policy, "default-src 'none'", path)
			require.Contains(t, policy, "frame-ancestors 'none'", path)
			require.NotContains(t, policy, "unsafe", path)
			require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), path)
		}
	})

	t.Run("HealthNeedsNoLogin", func(t *testing.T) {
		t.Parallel()
		down := false
		s := serve(t, database(t), func(c *ui.Config) {
			c.Ready = func(context.Context) error {
				if down {
					return errors.New("postgres://user:secret@host is gone")
				}
				return nil
			}
		})
		require.Equal(t, http.StatusOK, s.do(t, s.request(t, "", http.MethodGet, "/healthz", "")).status)
		require.Equal(t, http.StatusOK, s.do(t, s.request(t, "", http.MethodGet, "/readyz", "")).status)
		down = true
		answer := s.do(t, s.request(t, "", http.MethodGet, "/readyz", ""))
		require.Equal(t, http.StatusServiceUnavailable, answer.status)
		require.Equal(t, "not ready\n", answer.body)
		require.Equal(t, http.StatusOK, s.do(t, s.request(t, "", http.MethodGet, "/healthz", "")).status)
	})

	t.Run("LargeBody", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		answer := s.post(t, "/dates/2026-03-01", "action="+strings.Repeat("x", 1<<20))
		require.GreaterOrEqual(t, answer.status, 400)
		require.Less(t, answer.status, 500)
	})

	t.Run("Open", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), func(c *ui.Config) { c.Access = door.Access{} })
		answer := s.do(t, s.request(t, "", http.MethodGet, "/", ""))
		require.Equal(t, http.StatusOK, answer.status)
		require.Contains(t, answer.body, "open on this machine")
		// Through a proxy on this machine, everybody would be the admin.
		for _, header := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "CF-Connecting-IP"} {
			for _, path := range []string{"/", "/api/dates"} {
				request := s.request(t, "", http.MethodGet, path, "")
				request.Header.Set(header, "203.0.113.9")
				answer := s.do(t, request)
				require.Equal(t, http.StatusForbidden, answer.status, header)
				require.Contains(t, answer.body, "set DAYMILL_ADMIN_PASSWORD", header)
			}
		}
		// A site whose name was made to resolve to this machine.
		request := s.request(t, "", http.MethodGet, "/", "")
		request.Host = "evil.example:8080"
		require.Equal(t, http.StatusForbidden, s.do(t, request).status)
	})

	t.Run("Throttled", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		s.clock.set(time.Now())
		guess := func(user, password, forwarded string) int {
			request := s.request(t, "", http.MethodGet, "/", "")
			request.SetBasicAuth(user, password)
			if forwarded != "" {
				request.Header.Set("X-Forwarded-For", forwarded)
			}
			return s.do(t, request).status
		}
		for range 10 {
			require.Equal(t, http.StatusUnauthorized, guess("admin", "guess", ""))
		}
		require.Equal(t, http.StatusTooManyRequests, guess("admin", "guess", ""))
		require.Equal(t, http.StatusTooManyRequests, guess("admin", adminPassword, ""), "otherwise guessing could continue")
		require.Equal(t, http.StatusOK, guess("admin", adminPassword, "198.51.100.7, 203.0.113.9"), "another client")
		s.clock.set(s.clock.Now().Add(7 * time.Second))
		require.Equal(t, http.StatusOK, guess("admin", adminPassword, ""))
		// A client that claims another address each time runs into the limit over all clients.
		statuses := make(map[int]int)
		for i := range 120 {
			statuses[guess("admin", "guess", "198.51.100."+string(rune('0'+i%10))+string(rune('0'+i/10)))]++
		}
		require.Positive(t, statuses[http.StatusTooManyRequests])
		require.Equal(t, http.StatusOK, guess("admin", adminPassword, "198.51.100.7, 203.0.113.9"), "a client that was right before is not limited by it")
	})

	t.Run("Told", func(t *testing.T) {
		t.Parallel()
		var out bytes.Buffer
		s := serve(t, database(t), func(c *ui.Config) {
			c.Listeners = telemetry.Listeners{telemetry.Log{Logger: slog.New(slog.NewTextHandler(&out, nil))}}
		})
		request := s.request(t, "", http.MethodGet, "/dates?x=private", "")
		request.SetBasicAuth("whoever", "hunter2hunter2")
		request.Header.Set("X-Forwarded-For", "2001:db8:1:2:3::4")
		for range 20 {
			s.do(t, request)
		}
		require.Equal(t, 10, strings.Count(out.String(), "\n"), out.String())
		require.Contains(t, out.String(), `msg="wrong credentials" credential=password client="127.0.0.1 for 2001:db8:1:2::/64"`)
		for _, secret := range []string{"hunter2", "whoever", "private"} {
			require.NotContains(t, out.String(), secret)
		}
	})

	t.Run("Viewer", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		require.Equal(t, http.StatusOK, s.do(t, s.request(t, "viewer", http.MethodGet, "/", "")).status)
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			answer := s.do(t, s.request(t, "viewer", method, "/dates/2026-03-01", "action=request"))
			require.Equal(t, http.StatusForbidden, answer.status, method)
			require.Contains(t, answer.body, "Log in as admin", method)
		}
	})

	t.Run("WrongCredentials", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		for _, c := range [][2]string{
			{"admin", ""},
			{"admin", viewerPassword},
			{"viewer", adminPassword},
			{"", adminPassword},
			{"root", adminPassword},
			{"admin", adminPassword + " "},
		} {
			request := s.request(t, "", http.MethodGet, "/", "")
			request.SetBasicAuth(c[0], c[1])
			answer := s.do(t, request)
			require.Equal(t, http.StatusUnauthorized, answer.status, c)
			require.Contains(t, answer.header.Get("WWW-Authenticate"), "Basic")
		}
		answer := s.do(t, s.request(t, "", http.MethodGet, "/", ""))
		require.Equal(t, http.StatusUnauthorized, answer.status)
		require.NotContains(t, answer.body, "<html")
		// A password that is not set lets nobody in.
		s = serve(t, database(t), func(c *ui.Config) { c.Access = door.Access{AdminPassword: adminPassword} })
		request := s.request(t, "", http.MethodGet, "/", "")
		request.SetBasicAuth("viewer", "")
		require.Equal(t, http.StatusUnauthorized, s.do(t, request).status)
	})
}
