package ui_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// part loads the fragment of a page that htmx asks for.
func (s *site) part(t *testing.T, path, name string) string {
	t.Helper()
	request := s.request(t, "admin", http.MethodGet, path, "")
	request.Header.Set("Hx-Request", "true")
	request.Header.Set("Hx-Request-Type", "partial")
	request.Header.Set("Hx-Target", "div#"+name)
	return s.do(t, request).body
}

func TestBackfills(t *testing.T) {
	t.Parallel()
	const form = "from=2026-03-01&to=2026-03-10&which=all&order=newest&in_flight=3&pause=1.5"

	setup := func(t *testing.T) *site {
		t.Helper()
		return serve(t, database(t), nil)
	}

	t.Run("Change", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		require.Equal(t, http.StatusSeeOther, s.post(t, "/backfills", form).status)
		for _, c := range []struct{ action, state string }{
			{"pause", "paused"}, {"pause", "paused"}, {"resume", "running"}, {"cancel", "cancelled"},
		} {
			answer := s.post(t, "/backfills/1", "action="+c.action)
			require.Equal(t, http.StatusSeeOther, answer.status, c)
			require.Equal(t, c.state, pgtest.Value[string](t, s.db, "SELECT state FROM analytics.backfills"))
		}
		answer := s.post(t, "/backfills/1", "action=resume")
		require.Equal(t, http.StatusUnprocessableEntity, answer.status)
		require.Contains(t, answer.body, "has ended")
		require.Equal(t, http.StatusUnprocessableEntity, s.post(t, "/backfills/1", "action=explode").status)
		require.Equal(t, http.StatusNotFound, s.post(t, "/backfills/2", "action=pause").status)
		require.Equal(t, "start backfill,pause backfill,resume backfill,cancel backfill",
			pgtest.Value[string](t, s.db, "SELECT string_agg(action, ',' ORDER BY id) FROM daymill.audit WHERE actor = 'admin' AND via = 'web'"))
	})

	t.Run("Empty", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		require.Contains(t, s.get(t, "/backfills").body, "No backfill has been started yet.")
		require.Equal(t, http.StatusNotFound, s.get(t, "/backfills/1").status)
		require.Equal(t, http.StatusNotFound, s.get(t, "/backfills/x").status)
	})

	t.Run("Mistakes", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for query, want := range map[string]string{
			"from=2026-03-01&to=2026-02-01":             "reversed",
			"from=2026-03-01&to=2999-01-01":             "over",
			"from=1900-01-01&to=2020-01-01":             "3660",
			"from=2026-02-30&to=2026-03-01":             "2026-02-30",
			"from=&to=":                                 "date",
			"from=2026-03-01&to=2026-03-02&in_flight=0": "in flight",
			"from=2026-03-01&to=2026-03-02&in_flight=x": "in flight",
			"from=2026-03-01&to=2026-03-02&pause=-1":    "pause",
			"from=2026-03-01&to=2026-03-02&pause=NaN":   "pause",
			"before=x": "is not a place in the list",
		} {
			answer := s.get(t, "/backfills?"+query)
			if query != "from=&to=" { // An empty form gets the last month.
				require.Equal(t, http.StatusUnprocessableEntity, answer.status, query)
				require.Contains(t, answer.body, want, query)
			}
			if query != "before=x" && query != "from=&to=" {
				require.Equal(t, http.StatusUnprocessableEntity, s.post(t, "/backfills", query).status, query)
			}
		}
		require.Zero(t, pgtest.Value[int](t, s.db, "SELECT count(*) FROM analytics.backfills"))
	})

	t.Run("Pages", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.db.Do(t, `INSERT INTO analytics.backfills (first_date, last_date, state, requested_by)
			SELECT date '2026-01-01' + i, date '2026-01-01' + i, 'complete', '<b>' || i FROM generate_series(1, 30) AS i`)
		s.db.Do(t, `INSERT INTO analytics.backfill_dates (backfill_id, metric_date, state)
			SELECT 30, date '2025-01-01' + i, CASE WHEN i = 7 THEN 'failed' ELSE 'complete' END FROM generate_series(0, 149) AS i`)
		first := s.get(t, "/backfills").body
		require.Contains(t, first, `href="/backfills/21"`)
		require.NotContains(t, first, `href="/backfills/20"`)
		require.Contains(t, first, "&lt;b&gt;30")
		second := s.get(t, "/backfills?before=21").body
		require.Contains(t, second, `href="/backfills/20"`)
		require.Contains(t, second, `rel="next"`)
		third := s.get(t, "/backfills?before=11").body
		require.Contains(t, third, `href="/backfills/1"`)
		require.NotContains(t, third, `rel="next"`)
		page := s.get(t, "/backfills/30").body
		require.Contains(t, page, "2025-01-01")
		require.Contains(t, page, `href="/backfills/30?after=2025-04-10&amp;past_failed="`)
		require.Less(t, strings.Index(page, "/dates/2025-01-08"), strings.Index(page, "/dates/2025-01-01"), "what has failed comes first")
		page = s.get(t, "/backfills/30?after=2025-04-10&past_failed=").body
		require.NotContains(t, page, "/dates/2025-04-10")
		require.Contains(t, page, "/dates/2025-05-30")
		require.NotContains(t, page, "/dates/2025-01-08")
		page = s.get(t, "/backfills/30?state=failed").body
		require.Contains(t, page, "/dates/2025-01-08")
		require.NotContains(t, page, "/dates/2025-01-09")
	})

	t.Run("PreviewStartsNothing", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.db.RawEvents(t)
		s.db.InsertDate(t, date.MustParse("2026-03-02"), 1000, 100)
		s.db.Do(t, "ANALYZE public.raw_events")
		s.db.Do(t, `INSERT INTO analytics.backfills (first_date, last_date) VALUES ('2026-03-10', '2026-03-12')`)
		s.db.Do(t, "SELECT analytics.enqueue_rollup('2026-03-02', '2026-03-04')")
		body := s.get(t, "/backfills?"+form).body
		require.Contains(t, body, "Preview: 2026-03-01 to 2026-03-10")
		require.Contains(t, body, "1 open backfill shares dates")
		require.Contains(t, body, "3 dates of the range are already requested")
		require.Contains(t, body, ">1,000<")
		require.Contains(t, body, "<dt>With events</dt><dd>1</dd>")
		require.Contains(t, body, "9 dates have no events")
		require.Equal(t, 1, pgtest.Value[int](t, s.db, "SELECT count(*) FROM analytics.backfills"))
	})

	// Nobody can read the events, but the ledger knows the dates that were complete.
	t.Run("PreviewOfLedger", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.db.RawEvents(t)
		s.db.Do(t, `INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id, complete_run_id, completed_at, events, entities)
			SELECT d, 'complete', 1, 1, 1, '2026-03-12', 1000, 10 FROM generate_series('2026-03-01'::date, '2026-03-09', '1 day') AS d`)
		tx, err := s.db.Begin(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
		_, err = tx.Exec(t.Context(), "LOCK TABLE public.raw_events IN ACCESS EXCLUSIVE MODE")
		require.NoError(t, err)
		require.Contains(t, s.get(t, "/backfills?"+form).body, "<dt>With events</dt><dd>at least 9</dd>", "the last date is not known")
		require.Contains(t, s.get(t, "/backfills?"+strings.Replace(form, "03-10", "03-09", 1)).body, "<dt>With events</dt><dd>9</dd>")
	})

	t.Run("Start", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		answer := s.post(t, "/backfills", form)
		require.Equal(t, "/backfills/1", answer.header.Get("Location"))
		require.Equal(t, "started", answer.notice())
		require.Equal(t, "2026-03-01 2026-03-10 true true 3 1500 admin web", pgtest.Value[string](t, s.db, `SELECT concat_ws(' ', first_date, last_date,
			newest_first::text, every_date::text, in_flight, pause_ms, requested_by, requested_via) FROM analytics.backfills`))
		body := s.follow(t, answer).body
		require.Contains(t, body, "Started.")
		require.Contains(t, body, "0 of 10 dates done")
		require.Contains(t, s.get(t, "/backfills/1?cancel").body, "Cancel this backfill?")
		// The live part is a fragment.
		request := s.request(t, "admin", http.MethodGet, "/backfills/1", "")
		request.Header.Set("Hx-Request", "true")
		request.Header.Set("Hx-Request-Type", "partial")
		request.Header.Set("Hx-Target", "div#progress")
		part := s.do(t, request).body
		require.Contains(t, part, `id="progress"`)
		require.NotContains(t, part, "<html")
		require.NotContains(t, part, "Dates of the backfill")
		part = s.part(t, "/backfills", "backfills")
		require.Contains(t, part, `hx-get="/backfills"`)
		require.NotContains(t, part, "New backfill")
	})

	t.Run("Viewer", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.post(t, "/backfills", form)
		body := s.do(t, s.request(t, "viewer", http.MethodGet, "/backfills/1?cancel", "")).body
		require.NotContains(t, body, "<form")
		require.NotContains(t, s.do(t, s.request(t, "viewer", http.MethodGet, "/backfills?"+form, "")).body, "<form")
		require.Equal(t, http.StatusForbidden, s.do(t, s.request(t, "viewer", http.MethodPost, "/backfills", form)).status)
		require.Equal(t, 1, pgtest.Value[int](t, s.db, "SELECT count(*) FROM analytics.backfills"))
	})
}

func TestSchedule(t *testing.T) {
	t.Parallel()

	t.Run("NoWorker", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		body := s.get(t, "/schedule").body
		require.Contains(t, body, "No worker has been seen")
		require.Contains(t, body, "unknown: no worker is running")
		require.NotContains(t, body, "there is no archive")
		answer := s.post(t, "/schedule", url.Values{"action": {"pause-queue"}, "queue": {"daymill"}}.Encode())
		require.Equal(t, http.StatusUnprocessableEntity, answer.status)
		require.Contains(t, answer.body, "start <code>daymill worker</code>")
	})

	t.Run("PauseAndResume", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		require.Equal(t, http.StatusSeeOther, s.post(t, "/schedule", "action=pause").status)
		require.True(t, pgtest.Value[bool](t, s.db, "SELECT paused_at IS NOT NULL FROM daymill.schedules"))
		require.Contains(t, s.get(t, "/schedule").body, "Resume")
		require.Equal(t, http.StatusSeeOther, s.post(t, "/schedule", "action=resume").status)
		require.True(t, pgtest.Value[bool](t, s.db, "SELECT paused_at IS NULL FROM daymill.schedules"))
		require.Equal(t, http.StatusSeeOther, s.post(t, "/schedule", "action=run").status)
		require.Equal(t, 1, pgtest.Value[int](t, s.db, "SELECT count(*) FROM river_job WHERE kind = 'daily_rollup'"))
		require.Equal(t, http.StatusUnprocessableEntity, s.post(t, "/schedule", "action=explode").status)
		require.Equal(t, "pause schedule,resume schedule,run schedule",
			pgtest.Value[string](t, s.db, "SELECT string_agg(action, ',' ORDER BY id) FROM daymill.audit WHERE actor = 'admin' AND via = 'web'"))
	})

	t.Run("Queue", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		s.db.Do(t, "INSERT INTO river_queue (name, created_at, updated_at) VALUES ('daymill', now(), now()), ('theirs', now(), now())")
		form := url.Values{"action": {"pause-queue"}, "queue": {"daymill"}}
		require.Equal(t, http.StatusSeeOther, s.post(t, "/schedule", form.Encode()).status)
		require.True(t, pgtest.Value[bool](t, s.db, "SELECT paused_at IS NOT NULL FROM river_queue WHERE name = 'daymill'"))
		form.Set("action", "resume-queue")
		require.Equal(t, http.StatusSeeOther, s.post(t, "/schedule", form.Encode()).status)
		require.True(t, pgtest.Value[bool](t, s.db, "SELECT paused_at IS NULL FROM river_queue WHERE name = 'daymill'"))
		require.Equal(t, http.StatusUnprocessableEntity,
			s.post(t, "/schedule", url.Values{"action": {"pause-queue"}, "queue": {"theirs"}}.Encode()).status)
		require.True(t, pgtest.Value[bool](t, s.db, "SELECT paused_at IS NULL FROM river_queue WHERE name = 'theirs'"))
	})

	t.Run("Viewer", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		require.NotContains(t, s.do(t, s.request(t, "viewer", http.MethodGet, "/schedule", "")).body, "<form")
		require.Equal(t, http.StatusForbidden, s.do(t, s.request(t, "viewer", http.MethodPost, "/schedule", "action=run")).status)
		require.Zero(t, pgtest.Value[int](t, s.db, "SELECT count(*) FROM river_job"))
	})

	t.Run("Worker", func(t *testing.T) {
		t.Parallel()
		s := serve(t, database(t), nil)
		s.db.Do(t, `INSERT INTO daymill.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower, current_pace, pace_reason)
			VALUES ('worker.1/<i>', 'v1', 2, 0.2, 1000, 4, 3, 0, false, 4, '3 sessions of others are at work')`)
		s.db.Do(t, "INSERT INTO river_leader (elected_at, expires_at, leader_id) VALUES (now(), now() + interval '1 hour', 'worker.1/<i>')")
		s.db.Do(t, `INSERT INTO daymill.jobs (id, kind, args, state, queue, priority, attempt, max_attempts, created_at, scheduled_at, errors)
			VALUES (17, 'prune_ledger', '{}', 'retryable', 'daymill_control', 1, 1, 3, now(), now(), '[{"error": "<u>no space"}]')`)
		s.db.RawEvents(t)
		s.db.InsertDate(t, date.Of(time.Now(), time.UTC).AddDays(-1), 10, 1)
		body := s.get(t, "/schedule").body
		require.Contains(t, body, " 04:00:00 UTC")
		require.Contains(t, body, "worker.1/&lt;i&gt;")
		require.Contains(t, body, "lookback of 3 days")
		require.Contains(t, body, "never: there is no archive, because no worker was given DAYMILL_ARCHIVE")
		require.Contains(t, body, ">leader<")
		require.Contains(t, body, "Pace 4: 3 sessions of others are at work")
		require.Contains(t, body, `href="/jobs/17"`)
		require.Contains(t, body, "&lt;u&gt;no space")
		require.Eventually(t, func() bool { // Missing dates are searched in the background.
			return strings.Contains(s.get(t, "/schedule").body, ": this year "+date.Of(time.Now(), time.UTC).AddDays(-1).String())
		}, 30*time.Second, 50*time.Millisecond)
		s.db.Do(t, "UPDATE river_leader SET leader_id = 'theirs<b>'")
		require.Contains(t, s.get(t, "/schedule").body, "theirs&lt;b&gt;")
		s.db.Do(t, "UPDATE river_leader SET expires_at = now()")
		require.Contains(t, s.get(t, "/schedule").body, "No leader is elected")
	})
}
