package ui_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestBulk(t *testing.T) {
	t.Parallel()

	t.Run("Cancel", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		waiting, running := b.insert(t, "2026-03-01", "available"), b.insert(t, "2026-03-02", "running")
		retrying, ended := b.insert(t, "2026-03-03", "retryable"), b.insert(t, "2026-03-04", "completed")
		_, result := b.confirmed(t, "action=cancel", nil)
		require.Contains(t, result.body, "3 jobs cancelled</strong> of 4")
		require.Contains(t, result.body, "It had already ended.")
		require.Equal(t, []string{"cancelled", "running", "cancelled", "completed"},
			[]string{b.state(t, waiting), b.state(t, running), b.state(t, retrying), b.state(t, ended)})
		require.True(t, pgtest.Value[bool](t, b.db, "SELECT metadata ? 'cancel_attempted_at' FROM river_job WHERE id = $1", running))
		// Their requests are withdrawn too.
		require.Zero(t, pgtest.Value[int](t, b.db,
			"SELECT count(*)::integer FROM analytics.rollup_requests WHERE metric_date IN ('2026-03-01', '2026-03-03') AND resolved_at IS NULL"))
	})

	t.Run("Delete", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		ended, running := b.insert(t, "2026-03-01", "discarded"), b.insert(t, "2026-03-02", "running")
		pruned, waiting := b.insert(t, "2026-03-03", "completed"), b.insert(t, "2026-03-04", "available")
		b.db.Do(t, "DELETE FROM river_job WHERE id = $1", pruned)
		_, result := b.confirmed(t, "action=delete", nil)
		require.Contains(t, result.body, "3 jobs deleted</strong> of 4")
		require.Contains(t, result.body, "A worker is running it.")
		for _, id := range []int64{ended, pruned, waiting} {
			require.Equal(t, "none", b.state(t, id))
			require.Equal(t, http.StatusNotFound, b.get(t, fmt.Sprintf("/jobs/%d", id)).status)
		}
		require.Equal(t, "running", b.state(t, running))
		require.Zero(t, pgtest.Value[int](t, b.db,
			"SELECT count(*)::integer FROM analytics.rollup_requests WHERE metric_date = '2026-03-04' AND resolved_at IS NULL"))
		require.Equal(t, "admin web delete jobs all jobs", pgtest.Value[string](t, b.db,
			"SELECT concat_ws(' ', actor, via, action, target) FROM daymill.audit WHERE action LIKE '%jobs'"))
	})

	// good_job #583: "all" ignored the filter.
	t.Run("ExactlyTheFilter", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		b.db.Do(t, `INSERT INTO river_job (kind, args, max_attempts, state, finalized_at, attempt, queue)
			SELECT k.kind, jsonb_build_object('date', (date '2026-01-01' + i)::text), 6, s.state::river_job_state,
				CASE WHEN s.state <> 'retryable' THEN now() END, 1, 'daymill'
			FROM generate_series(0, 59) AS i, unnest(ARRAY['rollup_day', 'backfill']) AS k (kind),
				unnest(ARRAY['discarded', 'completed', 'retryable']) AS s (state)`)
		confirmation, result := b.confirmed(t, "action=delete&state=discarded&kind=rollup_day&from=2026-01-11&to=2026-02-19", nil)
		require.Contains(t, confirmation.body, "<strong>40 jobs</strong> will be deleted: discarded jobs of kind rollup_day, of the dates 2026-01-11..2026-02-19")
		require.Contains(t, result.body, "40 jobs deleted</strong> of 40")
		require.Equal(t, 320, pgtest.Value[int](t, b.db, "SELECT count(*)::integer FROM river_job"))
		require.Equal(t, 320, pgtest.Value[int](t, b.db, "SELECT count(*)::integer FROM daymill.jobs"))
		require.Equal(t, 20, pgtest.Value[int](t, b.db, "SELECT count(*)::integer FROM river_job WHERE kind = 'rollup_day' AND state = 'discarded'"))
		require.Zero(t, pgtest.Value[int](t, b.db, `SELECT count(*)::integer FROM river_job WHERE kind = 'rollup_day' AND state = 'discarded'
			AND analytics.job_date(args) BETWEEN '2026-01-11' AND '2026-02-19'`))
	})

	// More than a chunk, and more than a page.
	t.Run("Many", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		b.db.Do(t, `INSERT INTO river_job (kind, args, max_attempts, state, finalized_at, attempt, queue)
			SELECT 'backfill', jsonb_build_object('n', i), 6, 'discarded', now(), 6, 'daymill' FROM generate_series(1, 253) AS i`)
		_, result := b.confirmed(t, "action=retry&state=discarded", nil)
		require.Contains(t, result.body, "253 jobs retried</strong> of 253")
		require.Equal(t, 253, pgtest.Value[int](t, b.db, "SELECT count(*)::integer FROM river_job WHERE state = 'available' AND max_attempts = 7"))
		require.Equal(t, 253, pgtest.Value[int](t, b.db, "SELECT sum((detail ->> 'retried')::integer)::integer FROM daymill.audit WHERE action = 'retry jobs'"))
		// Sending the same confirmation again finds only jobs that have changed.
		require.NotContains(t, b.get(t, "/jobs?state=discarded").body, "/jobs/253")
	})

	t.Run("Retry", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		older, newer := b.insert(t, "2026-03-01", "discarded"), b.insert(t, "2026-03-01", "discarded")
		active := b.insert(t, "2026-03-02", "discarded")
		sibling := b.insert(t, "2026-03-02", "available")
		pruned := b.insert(t, "2026-03-03", "discarded")
		b.db.Do(t, "DELETE FROM river_job WHERE id = $1", pruned)
		b.db.Do(t, "INSERT INTO river_job (kind, args, max_attempts, state, finalized_at, queue) VALUES ('backfill', '{}', 6, 'discarded', now(), 'daymill')")
		b.db.Do(t, "DELETE FROM river_job WHERE kind = 'backfill'")
		b.db.Do(t, "UPDATE analytics.rollup_requests SET resolved_at = now(), resolution = 'failed'")
		confirmation, result := b.confirmed(t, "action=retry&state=discarded", nil)
		require.Contains(t, confirmation.body, "<strong>5 jobs</strong> will be retried: discarded jobs")
		require.Contains(t, result.body, "2 jobs retried</strong> of 5")
		require.Regexp(t, `<td class="num">2</td><td class="wide-cell">Another job of the same date or kind is open.`, result.body)
		require.Regexp(t, `<td class="num">1</td><td class="wide-cell">River has deleted it`, result.body)
		require.Equal(t, []string{"discarded", "available", "discarded", "available"},
			[]string{b.state(t, older), b.state(t, newer), b.state(t, active), b.state(t, sibling)})
		require.Equal(t, "requested", b.dateState(t, "2026-03-01"))
		require.Equal(t, "requested", b.dateState(t, "2026-03-03"))
		require.Equal(t, "admin web", pgtest.Value[string](t, b.db,
			"SELECT requested_by || ' ' || requested_via FROM analytics.rollup_requests WHERE metric_date = '2026-03-03' AND resolved_at IS NULL"))
	})

	t.Run("Snapshot", func(t *testing.T) {
		t.Parallel()
		for _, filter := range []string{"", "&from=2026-03-01", "&q=rollup"} {
			b := setupJobs(t)
			shown, changed := b.insert(t, "2026-03-01", "discarded"), b.insert(t, "2026-03-02", "discarded")
			was := b.insert(t, "2026-03-03", "running")
			var later int64
			_, result := b.confirmed(t, "action=delete&state=discarded"+filter, func() {
				later = b.insert(t, "2026-03-04", "discarded") // came later
				b.move(t, changed, "available")                // does not match any more
				b.move(t, was, "discarded")                    // matches since
			})
			require.Contains(t, result.body, "1 job deleted</strong> of 2", filter)
			require.Contains(t, result.body, "It has changed since you opened the page, or was deleted.")
			require.Equal(t, []string{"none", "available", "discarded", "discarded"},
				[]string{b.state(t, shown), b.state(t, changed), b.state(t, was), b.state(t, later)}, filter)
		}
	})

	t.Run("Locked", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		locked, free := b.insert(t, "2026-03-01", "discarded"), b.insert(t, "2026-03-02", "discarded")
		tx, err := b.db.Begin(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
		_, err = tx.Exec(t.Context(), "SELECT FROM river_job WHERE id = $1 FOR UPDATE", locked)
		require.NoError(t, err)
		_, result := b.confirmed(t, "action=retry&state=discarded", nil)
		require.Contains(t, result.body, "1 job retried</strong> of 2")
		require.Contains(t, result.body, "Another transaction has locked it")
		require.Equal(t, "available", b.state(t, free))
	})

	t.Run("Nothing", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		b.insert(t, "2026-03-01", "completed")
		answer := b.get(t, "/jobs/bulk?action=retry&state=discarded")
		require.Contains(t, answer.body, "There are no discarded jobs.")
		require.NotContains(t, answer.body, `method="post"`)
	})
}

func TestJob(t *testing.T) {
	t.Parallel()

	t.Run("Actions", func(t *testing.T) {
		t.Parallel()
		for state, wanted := range map[string]map[string]string{
			"available": {"retry": "refused", "cancel": "cancelled", "delete": "none"},
			"cancelled": {"retry": "available", "cancel": "refused", "delete": "none"},
			"completed": {"retry": "available", "cancel": "refused", "delete": "none"},
			"discarded": {"retry": "available", "cancel": "refused", "delete": "none"},
			"retryable": {"retry": "available", "cancel": "cancelled", "delete": "none"},
			"running":   {"retry": "refused", "cancel": "running", "delete": "refused"},
			"scheduled": {"retry": "available", "cancel": "cancelled", "delete": "none"},
		} {
			t.Run(state, func(t *testing.T) {
				t.Parallel()
				b, d := setupJobs(t), 0
				for action, after := range wanted {
					d++
					day := fmt.Sprintf("2026-03-%02d", d)
					id := b.insert(t, day, state)
					b.db.Do(t, "DELETE FROM daymill.audit")
					answer := b.post(t, fmt.Sprintf("/jobs/%d", id), "action="+action)
					if after == "refused" {
						require.Equal(t, http.StatusUnprocessableEntity, answer.status, action)
						require.Equal(t, state, b.state(t, id), action)
						require.Zero(t, pgtest.Value[int](t, b.db, "SELECT count(*)::integer FROM daymill.audit"), action)
						continue
					}
					require.Equal(t, http.StatusSeeOther, answer.status, "%s: %s", action, answer.body)
					require.Equal(t, http.StatusOK, b.get(t, answer.header.Get("Location")).status)
					require.Equal(t, after, b.state(t, id), action)
					require.Equal(t, fmt.Sprintf("admin web %s job %d", action, id), pgtest.Value[string](t, b.db,
						"SELECT concat_ws(' ', actor, via, action, target) FROM daymill.audit WHERE action LIKE '% job'"))
					open := pgtest.Value[int](t, b.db, "SELECT count(*)::integer FROM analytics.rollup_requests WHERE metric_date = $1 AND resolved_at IS NULL", day)
					switch {
					case action == "retry":
						require.Positive(t, open)
						require.Equal(t, "requested", b.dateState(t, day))
					case after == "cancelled" || action == "delete" && (state == "available" || state == "retryable" || state == "scheduled"):
						require.Zero(t, open, "%s of %s", action, state)
					}
				}
			})
		}
	})

	t.Run("Page", func(t *testing.T) {
		t.Parallel()
		b := setupJobs(t)
		id := b.insert(t, "2026-03-01", "running")
		b.db.Do(t, `UPDATE river_job SET attempted_by = ARRAY['host-1'], errors = ARRAY[jsonb_build_object('at', now(), 'attempt', 1,
			'error', 'connection refused', 'trace', 'goroutine 1')] WHERE id = $1`, id)
		b.db.Do(t, `WITH r AS (
				INSERT INTO analytics.rollup_runs (metric_date, job_id, attempt, worker, progress) VALUES ('2026-03-01', $1, 1, 'host-1', 0.25)
				RETURNING id
			) INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) SELECT '2026-03-01', 'running', id, id FROM r`, id)
		path := fmt.Sprintf("/jobs/%d", id)
		body := b.get(t, path).body
		for _, part := range []string{
			"connection refused", "<details>", "goroutine 1", `href="/dates/2026-03-01"`, "&#34;date&#34;: &#34;2026-03-01&#34;", "host-1",
			"25 %", `hx-trigger="every 2s"`, `value="cancel"`,
		} {
			require.Contains(t, body, part)
		}
		require.NotContains(t, body, `value="delete"`)
		request := b.request(t, "admin", http.MethodGet, path, "")
		request.Header.Set("Hx-Request", "true")
		request.Header.Set("Hx-Request-Type", "partial")
		request.Header.Set("Hx-Target", "div#job")
		fragment := b.do(t, request).body
		require.NotContains(t, fragment, "<html")
		require.Contains(t, fragment, "25 %")

		b.db.Do(t, "UPDATE analytics.rollup_runs SET state = 'complete', finished_at = now(), progress = 1")
		b.db.Do(t, "UPDATE river_job SET state = 'completed', finalized_at = now(), metadata = '{\"output\": {\"events\": 77}}' WHERE id = $1", id)
		b.db.Do(t, "DELETE FROM river_job")
		body = b.get(t, path).body
		for _, part := range []string{"deleted by River", "Request its date again", "&#34;events&#34;: 77"} {
			require.Contains(t, body, part)
		}
		require.NotContains(t, body, "hx-trigger")
		require.Equal(t, http.StatusSeeOther, b.post(t, path, url.Values{"action": {"retry"}}.Encode()).status)
		require.Equal(t, 1, pgtest.Value[int](t, b.db, `SELECT count(*)::integer FROM analytics.rollup_requests
			WHERE metric_date = '2026-03-01' AND requested_via = 'web' AND requested_by = 'admin' AND resolved_at IS NULL`))
	})
}
