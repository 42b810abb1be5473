package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/demo"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// output is what a running process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// process is a verb that runs until it is stopped.
type process struct {
	stdout, stderr output

	cancel context.CancelFunc
	code   chan int
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	p := &process{cancel: cancel, code: make(chan int, 1)}
	a := &app{stdin: strings.NewReader(""), stdout: &p.stdout, stderr: &p.stderr}
	go func() { p.code <- execute(ctx, a, args) }()
	return p
}

// address waits until a process has printed the address of its pages.
func (p *process) address(t *testing.T, from *output, pattern string) string {
	t.Helper()
	var found []string
	require.Eventually(t, func() bool {
		found = regexp.MustCompile(pattern).FindStringSubmatch(from.String())
		return found != nil || len(p.code) > 0
	}, waitFor, tick)
	require.NotNil(t, found, "it has ended: %s", p.stderr.String())
	return found[1]
}

// stop sends SIGTERM.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	p.cancel()
	return <-p.code
}

// send sends a form, or nothing, and returns the answer after redirects.
func send(t *testing.T, method, address string, form url.Values) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	request.SetBasicAuth("admin", "correct horse")
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func workersAlive(t *testing.T, db *pgtest.DB) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow(t.Context(), "SELECT count(*) FROM daymill.workers").Scan(&n))
	return n
}

func TestServe(t *testing.T) {
	t.Parallel()

	setup := func(t *testing.T) *pgtest.DB {
		t.Helper()
		db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
		db.RawEvents(t)
		return db
	}

	// The same process works on what is started on the page.
	t.Run("Both", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		first := date.MustParse("2026-03-01")
		for i := range 3 {
			db.InsertDate(t, first.AddDays(i), 100, 10)
		}
		p := start(t, "serve", "--database-url", db.URL, "--listen", "127.0.0.1:0", "--base-path", "/daymill/",
			"--admin-password", "correct horse", "--pace", "0")
		pages := p.address(t, &p.stderr, `address=(http://127\.0\.0\.1:\d+/daymill/)`)
		require.NotContains(t, p.stderr.String(), "correct horse")

		status, body := send(t, http.MethodPost, pages+"backfills", url.Values{
			"from": {"2026-03-01"}, "to": {"2026-03-03"}, "which": {"all"},
		})
		require.Equal(t, http.StatusOK, status, body)
		require.Contains(t, body, "Backfill 1")
		require.Eventually(t, func() bool {
			_, body := send(t, http.MethodGet, pages+"backfills/1", nil)
			return strings.Contains(body, "3 of 3 dates done.")
		}, waitFor, tick)
		pgtest.RequireExact(t, db, first, first.AddDays(1), first.AddDays(2))
		status, _ = send(t, http.MethodGet, strings.TrimSuffix(pages, "daymill/")+"backfills/1", nil)
		require.Equal(t, http.StatusNotFound, status)
		require.Equal(t, 1, workersAlive(t, db))

		require.Equal(t, exitOK, p.stop(t), p.stderr.String())
		require.Zero(t, workersAlive(t, db))
		address, err := url.Parse(pages)
		require.NoError(t, err)
		_, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", address.Host)
		require.Error(t, err)
	})

	t.Run("PageFails", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		p := start(t, "serve", "--database-url", db.URL, "--listen", taken.Addr().String())
		require.Equal(t, exitUsage, <-p.code, p.stderr.String())
		require.Contains(t, p.stderr.String(), "give another --listen")
		require.Zero(t, workersAlive(t, db), "the worker has also stopped, and recorded that")
	})

	t.Run("WorkerFails", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		p := start(t, "serve", "--database-url", db.URL, "--listen", "127.0.0.1:0",
			"--source-url", "postgres://u:secret@127.0.0.1:1/x")
		require.Equal(t, exitNoDatabase, <-p.code, p.stderr.String())
		require.Contains(t, p.stderr.String(), "open source: the database cannot be reached")
	})
}

func TestDemoPage(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	// If the default port is taken, the demo finds another.
	if taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:8080"); err == nil {
		defer taken.Close()
	}
	p := start(t, "demo", "--database-url", db.URL, "--days", "3", "--events", "200", "--entities", "20")
	pages := p.address(t, &p.stdout, `The page is at (http://127\.0\.0\.1:\d+/)`)
	require.NotContains(t, pages, ":8080/")
	status, body := send(t, http.MethodGet, pages+"backfills", nil)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "100 %")
	require.Equal(t, exitOK, p.stop(t), p.stderr.String())
}

// TestDemoSums: on a slow machine, adding up the whole history takes longer than a statement usually may.
func TestDemoSums(t *testing.T) {
	t.Parallel()
	installed := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	_, err := installed.Exec(t.Context(), `CREATE OR REPLACE VIEW analytics.events AS
		SELECT 1::analytics.entity_id AS entity_id, 'view'::text AS event_type, now() AS created_at FROM pg_sleep(3)`)
	require.NoError(t, err)
	conn, err := postgres.Open(t.Context(), postgres.Config{URL: installed.URL, StatementTimeout: 2 * time.Second})
	require.NoError(t, err)
	defer conn.Close()
	sums, err := demo.Sums(t.Context(), conn)
	require.NoError(t, err)
	require.EqualValues(t, 1, sums.Events)
}

// TestDemoPrivate: the demo's database refuses other users of the machine, and the address that it prints works.
func TestDemoPrivate(t *testing.T) {
	t.Parallel()
	p := start(t, "demo", "--listen", "127.0.0.1:0", "--days", "2", "--events", "50", "--entities", "10")
	address := p.address(t, &p.stdout, `export DATABASE_URL='(\S+)'`)
	require.Contains(t, p.stdout.String(), "Postgres is at "+address+"\n")
	require.Contains(t, requireOK(t, address, "source", "show"), "public.raw_events")
	config, err := pgx.ParseConfig(address)
	require.NoError(t, err)
	info, err := os.Stat(config.Host)
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, info.Mode())
	_, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(config.Port))))
	require.Error(t, err, "TCP connections are refused")
	require.Equal(t, exitOK, p.stop(t), p.stderr.String())
	require.NoDirExists(t, config.Host)
}

// TestWebAddress: the port of a platform is open to everybody only if a login is required.
func TestWebAddress(t *testing.T) {
	t.Setenv("PORT", "5000")
	require.Equal(t, "127.0.0.1:5000", (&webOptions{}).address())
	require.Equal(t, ":5000", (&webOptions{APIToken: "token"}).address(), "the pages are closed")
	require.Equal(t, ":5000", (&webOptions{AdminPassword: "secret"}).address())
	require.Equal(t, ":5000", (&webOptions{ViewerPassword: "secret"}).address())
	require.Equal(t, "10.0.0.1:80", (&webOptions{AdminPassword: "secret", Listen: "10.0.0.1:80"}).address())
	t.Setenv("PORT", "")
	require.Equal(t, "127.0.0.1:8080", (&webOptions{AdminPassword: "secret"}).address())
}
