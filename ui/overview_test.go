package ui_test

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

const (
	waitFor = 30 * time.Second
	tick    = 20 * time.Millisecond

	workerSQL = `INSERT INTO daymill.workers
		(name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower)
		VALUES ('one', 'v1', 2, 1, 1000, 2, 2, 0, false)`
	// completeSQL makes dates complete from the first to the last: $1 and $2.
	completeSQL = `WITH r AS (
			INSERT INTO analytics.rollup_runs (metric_date, state, worker, finished_at, events, entities, rows_inserted)
			SELECT $1::date + i, 'complete', 'one', now(), 12345, 678, 678 FROM generate_series(0, $2::date - $1::date) AS i
			RETURNING id, metric_date, events, entities)
		INSERT INTO analytics.rollup_dates
		(metric_date, state, run_id, scan_run_id, complete_run_id, completed_at, events, entities)
		SELECT metric_date, 'complete', id, id, id, now(), events, entities FROM r`
	failSQL = `WITH r AS (
			UPDATE analytics.rollup_dates SET state = 'failed' WHERE metric_date = $1::date RETURNING run_id)
		UPDATE analytics.rollup_runs SET state = 'failed', error = $2 WHERE id = (SELECT run_id FROM r)`
)

// atMarch serves the pages on 2026-03-15, with a worker, and with events and complete dates since 2026-02-20.
func atMarch(t *testing.T) *site {
	t.Helper()
	db := database(t)
	db.RawEvents(t)
	s := serve(t, db, nil)
	s.clock.set(time.Date(2026, 3, 15, 12, 0, 0, 0, time.UTC))
	for d := date.MustParse("2026-02-20"); d.Before(date.MustParse("2026-03-15")); d = d.AddDays(1) {
		db.InsertDate(t, d, 10, 3)
	}
	s.db.Do(t, workerSQL)
	s.db.Do(t, completeSQL, "2026-02-20", "2026-03-14")
	return s
}

// verdict returns the sentence at the top of the overview.
func verdict(t *testing.T, s *site) string {
	t.Helper()
	body := s.get(t, "/").body
	found := regexp.MustCompile(`(?s)class="notice verdict (\w+)" role="status"><p>(.*?)</p>`).FindStringSubmatch(body)
	require.NotNil(t, found, body)
	text := regexp.MustCompile(`</?code>`).ReplaceAllString(found[2], "`")
	text = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(text, "")
	return found[1] + ": " + strings.Join(strings.Fields(text), " ")
}

func TestOverview(t *testing.T) {
	t.Parallel()

	t.Run("Calendar", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, "DELETE FROM analytics.rollup_dates WHERE metric_date = '2026-03-01'")
		s.db.Do(t, "INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-02')")
		s.db.Do(t, "INSERT INTO analytics.backfills (first_date, last_date) VALUES ('2026-01-01', '2026-01-02')")
		s.db.Do(t, "INSERT INTO analytics.backfill_dates (backfill_id, metric_date) VALUES (1, '2026-01-01'), (1, '2026-02-20')")
		require.Eventually(t, func() bool { return strings.Contains(s.get(t, "/").body, "2026-03-01: missing") }, waitFor, tick)
		body := s.get(t, "/").body
		for _, want := range []string{
			`href="/dates/2026-03-03" aria-label="2026-03-03: complete, 12,345 events"`, `aria-label="2026-03-02: requested, 12,345 events"`,
			`aria-label="2026-02-20: complete, 12,345 events"`, `aria-label="2026-01-01: in a backfill"`, `aria-label="2026-01-02: no events"`,
			`aria-label="2026-03-15: today, not over"`, "complete 21", "missing 1", "requested 1", "no events 49", "21 dates complete, 259,245 events",
			"/dates?from=2026-01-01&amp;state=missing&amp;to=2026-12-31", "0 of 2 dates",
		} {
			require.Contains(t, body, want)
		}
		require.NotContains(t, body, "/dates/2026-03-16", "a future date has no link")
		require.Contains(t, s.get(t, "/?year=2024").body, `aria-label="2024-02-29: no`)
		require.Equal(t, http.StatusUnprocessableEntity, s.get(t, "/?year=x").status)

		request := s.request(t, "admin", http.MethodGet, "/?year=2026", "")
		request.Header.Set("Hx-Request", "true")
		request.Header.Set("Hx-Request-Type", "partial")
		request.Header.Set("Hx-Target", "div#overview")
		fragment := s.do(t, request).body
		require.True(t, strings.HasPrefix(strings.TrimSpace(fragment), `<div id="overview"`), fragment)
		require.NotContains(t, fragment, "<h1")
	})

	t.Run("Fault", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, "ALTER TABLE river_job DISABLE TRIGGER daymill_request_insert")
		require.Contains(t, verdict(t, s), "bad: Daymill may miss events: the trigger daymill_request_insert on public.river_job is disabled")
	})

	t.Run("Hostile", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, failSQL, "2026-03-02", `<script>alert("1")</script>`+strings.Repeat("x", 10_000))
		body := s.get(t, "/").body
		require.Contains(t, body, "&lt;script&gt;alert(")
		require.NotContains(t, body, "<script>alert")
		require.NotContains(t, body, strings.Repeat("x", 500))
		require.NotContains(t, s.get(t, "/dates/2026-03-02").body, "<script>alert")
	})

	t.Run("Queries", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		tracer := &tracer{}
		traced := serve(t, s.db, func(c *ui.Config) { c.DB = tracer.open(t, s.db.URL) })
		traced.clock.set(time.Date(2026, 3, 15, 12, 0, 0, 0, time.UTC))
		require.Eventually(t, func() bool { return strings.Contains(traced.get(t, "/").body, "no events 50") }, waitFor, tick)
		for i := range 3 {
			tracer.take()
			traced.clock.set(time.Date(2026, 3, 15, 12, 0, 10*(i+1), 0, time.UTC))
			require.Equal(t, http.StatusOK, traced.get(t, "/").status)
			require.LessOrEqual(t, len(tracer.take()), 8, "a refresh does not search for missing dates each time")
		}
		traced.clock.set(time.Date(2026, 3, 15, 12, 6, 0, 0, time.UTC))
		traced.get(t, "/")
		require.Eventually(t, func() bool {
			return slices.ContainsFunc(tracer.seen(), func(q query) bool { return strings.Contains(q.sql, "name: ScheduleMissing") })
		}, waitFor, tick, "but it does after a few minutes")
	})

	t.Run("Retry", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, failSQL, "2026-03-02", "it broke")
		require.Contains(t, s.get(t, "/").body, `action="/dates/2026-03-02/request"`)
		answer := s.post(t, "/dates/2026-03-02/request", "back=overview")
		require.Equal(t, http.StatusSeeOther, answer.status)
		require.Equal(t, "/", answer.header.Get("Location"))
		require.Equal(t, "requested", answer.notice())
		require.Equal(t, "2026-03-02 admin web", pgtest.Value[string](t, s.db,
			"SELECT metric_date || ' ' || requested_by || ' ' || requested_via FROM analytics.rollup_requests"))
		require.Equal(t, "admin web request dates 2026-03-02", pgtest.Value[string](t, s.db,
			"SELECT actor || ' ' || via || ' ' || action || ' ' || target FROM daymill.audit"))
		require.Contains(t, s.get(t, "/").body, "retrying")
	})

	t.Run("Verdict", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		require.Equal(t, "good: All is well: 23 dates complete, the last of them 2026-03-14.", verdict(t, s))
		for _, c := range []struct{ change, undo, want string }{
			{
				"INSERT INTO analytics.rollup_requests (metric_date) VALUES ('2026-03-02')", "DELETE FROM analytics.rollup_requests",
				"busy: Work is in progress: 0 dates being rolled up, 1 waiting. See the jobs",
			},
			{
				"UPDATE analytics.rollup_dates SET state = 'failed' WHERE metric_date >= '2026-03-13'",
				"UPDATE analytics.rollup_dates SET state = 'complete'",
				"bad: 2 dates failed after all attempts: see why, and try again once the cause is fixed. See the dates",
			},
			{
				"UPDATE analytics.rollup_dates SET state = 'cancelled' WHERE metric_date = '2026-03-13'",
				"UPDATE analytics.rollup_dates SET state = 'complete'",
				"wait: 2026-03-13 was cancelled, and stays so until somebody requests it. See the date",
			},
			{
				"UPDATE analytics.rollup_dates SET state = 'stale' WHERE metric_date >= '2026-03-13'",
				"UPDATE analytics.rollup_dates SET state = 'complete'",
				"wait: 2 dates no longer match their events: request them again. See the dates",
			},
			{
				"INSERT INTO daymill.schedules (name, last_due_at, paused_at) VALUES ('daily_rollup', now(), now())",
				"DELETE FROM daymill.schedules",
				"wait: The daily job is paused: new dates are rolled up only if somebody requests them. Go to the schedule",
			},
			{
				"INSERT INTO public.river_queue (name, created_at, updated_at, paused_at) VALUES ('daymill', now(), now(), now())",
				"DELETE FROM public.river_queue",
				"wait: The queue daymill is paused, so its jobs wait until somebody resumes it. Go to the schedule",
			},
			{
				"DELETE FROM daymill.workers", "SELECT 1",
				"bad: No worker has been seen for two minutes, so nothing is rolled up: start `daymill worker`, or read its log.",
			},
		} {
			s.db.Do(t, c.change)
			require.Equal(t, c.want, verdict(t, s))
			s.db.Do(t, c.undo)
		}
	})

	t.Run("VerdictMissing", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, "DELETE FROM analytics.rollup_dates WHERE metric_date >= '2026-03-13'")
		require.Eventually(t, func() bool {
			return verdict(t, s) == "wait: 2 dates of 2026 have events but are not rolled up: the daily job will take them, or start a backfill now. Start a backfill"
		}, waitFor, tick)
	})

	t.Run("VerdictNone", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		require.Eventually(t, func() bool {
			return strings.HasPrefix(verdict(t, s), "bad: No source of events is set: run `daymill source set`")
		}, waitFor, tick)
	})

	t.Run("Viewer", func(t *testing.T) {
		t.Parallel()
		s := atMarch(t)
		s.db.Do(t, failSQL, "2026-03-02", "it broke")
		body := s.do(t, s.request(t, "viewer", http.MethodGet, "/", "")).body
		require.Contains(t, body, "it broke")
		require.NotContains(t, body, "<form")
		require.NotContains(t, s.do(t, s.request(t, "viewer", http.MethodGet, "/dates/2026-03-02", "")).body, "<form")
		answer := s.do(t, s.request(t, "viewer", http.MethodPost, "/dates/2026-03-02/request", "back=overview"))
		require.Equal(t, http.StatusForbidden, answer.status)
		require.Zero(t, pgtest.Value[int](t, s.db, "SELECT count(*) FROM analytics.rollup_requests"))
	})
}

// query is a statement that was sent.
type query struct {
	sql  string
	args []any
}

// tracer records the statements of a pool.
type tracer struct {
	mu      sync.Mutex
	queries []query
}

func (*tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (r *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries = append(r.queries, query{sql: data.SQL, args: data.Args})
	return ctx
}

func (r *tracer) seen() []query {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.queries)
}

func (r *tracer) take() []query {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.queries
	r.queries = nil
	return taken
}

func (r *tracer) open(t *testing.T, url string) *postgres.DB {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.ConnConfig.Tracer = r
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return &postgres.DB{Pool: pool}
}
