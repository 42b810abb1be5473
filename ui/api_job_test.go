package ui_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// answer decodes the body of a successful call.
func (a *api) answer(t *testing.T, into any, method, path, body string, options ...callOption) {
	t.Helper()
	got := a.call(t, method, path, body, options...)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.NoError(t, json.Unmarshal([]byte(got.body), into), got.body)
}

func TestAPIJobs(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), nil)
	const insert = `INSERT INTO river_job (kind, args, max_attempts, queue, state, finalized_at, attempt, errors, unique_key, unique_states)
		SELECT 'rollup_day', jsonb_build_object('date', d::date, 'note', $3::text), 25, 'daymill', $1::river_job_state, $2::timestamptz, 3,
			ARRAY['{"at": "2026-03-05T10:00:00Z", "attempt": 1, "error": "no space left", "trace": ""}'::jsonb], decode(md5(d::text), 'hex'), 245::bit(8)
		FROM generate_series('2026-03-01'::date, '2026-03-05', '1 day') AS d`
	a.db.Do(t, insert, "discarded", "2026-03-06 12:00+00", "")
	a.db.Do(t, insert, "available", nil, strings.Repeat("x", 300<<10))
	type listed struct {
		Jobs []struct {
			ID    int64  `json:"id"`
			Date  string `json:"date"`
			State string `json:"state"`
			Error string `json:"error"`
		} `json:"jobs"`
		Next *string `json:"next_cursor"`
	}
	var first, second listed
	a.answer(t, &first, "GET", "/api/jobs?state=discarded&kind=rollup_day&from=2026-03-02&limit=3", "")
	require.Len(t, first.Jobs, 3)
	require.Equal(t, "2026-03-05", first.Jobs[0].Date)
	require.Equal(t, "no space left", first.Jobs[0].Error)
	require.NotNil(t, first.Next)
	a.answer(t, &second, "GET", "/api/jobs?state=discarded&kind=rollup_day&from=2026-03-02&limit=3&cursor="+*first.Next, "")
	require.Len(t, second.Jobs, 1)
	require.Equal(t, "2026-03-02", second.Jobs[0].Date)
	require.Nil(t, second.Next)
	for _, query := range []string{"?state=gone", "?kind=gone", "?from=x", "?from=2026-03-02&to=2026-03-01", "?limit=0", "?cursor=x", "?q=%00"} {
		require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "GET", "/api/jobs"+query, "").status, query)
	}

	var waiting listed
	a.answer(t, &waiting, "GET", "/api/jobs?state=available", "")
	require.Len(t, waiting.Jobs, 5)
	var details struct {
		State  string           `json:"state"`
		Queue  string           `json:"queue"`
		Args   map[string]any   `json:"args"`
		Errors []map[string]any `json:"errors"`
		Output any              `json:"output"`
	}
	of := func(id int64) string { return "/api/jobs/" + strconv.FormatInt(id, 10) }
	a.answer(t, &details, "GET", of(waiting.Jobs[0].ID), "")
	require.Nil(t, details.Args, "they are too long")
	require.Equal(t, "daymill", details.Queue)

	failed := first.Jobs[0].ID
	answer := a.call(t, "POST", of(failed)+"/retry", "{}")
	require.Equal(t, http.StatusUnprocessableEntity, answer.status)
	require.Contains(t, answer.body, "another job of the same date or kind is open")
	require.Equal(t, http.StatusNoContent, a.call(t, "DELETE", of(waiting.Jobs[0].ID), "").status)
	require.Equal(t, http.StatusNotFound, a.call(t, "GET", of(waiting.Jobs[0].ID), "").status)
	details.Args = nil
	a.answer(t, &details, "POST", of(failed)+"/retry", "{}")
	require.Equal(t, "available", details.State)
	require.Equal(t, "2026-03-05", details.Args["date"])
	require.Equal(t, "no space left", details.Errors[0]["error"])
	a.answer(t, &details, "POST", of(failed)+"/cancel", "{}")
	require.Equal(t, "cancelled", details.State)
	require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "POST", of(failed)+"/cancel", "{}").status)

	a.db.Do(t, "DELETE FROM river_job WHERE id = $1", failed) // As River does after some days.
	a.db.Do(t, "DELETE FROM analytics.rollup_requests")
	a.answer(t, &details, "POST", of(failed)+"/retry", "{}")
	require.EqualValues(t, 1, a.count(t, "SELECT count(*) FROM analytics.rollup_requests WHERE metric_date = '2026-03-05' AND requested_via = 'api' AND requested_by = 'api'"))

	for _, method := range []string{"POST /retry", "POST /cancel", "DELETE "} {
		verb, path, _ := strings.Cut(method, " ")
		body := ""
		if path != "" {
			body = "{}"
		}
		require.Equal(t, http.StatusNotFound, a.call(t, verb, "/api/jobs/999999"+path, body).status, method)
		require.Equal(t, http.StatusForbidden, a.call(t, verb, of(failed)+path, body, basic("viewer", viewerPassword)).status, method)
	}
	require.EqualValues(t, 4, a.count(t, "SELECT count(*) FROM daymill.audit WHERE action IN ('retry job', 'cancel job', 'delete job') AND via = 'api' AND actor = 'api'"))
}

func TestAPISchedules(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), nil)
	type schedules struct {
		Schedules []struct {
			Name     string  `json:"name"`
			PausedAt *string `json:"paused_at"`
			Jobs     []struct {
				State string `json:"state"`
			} `json:"jobs"`
		} `json:"schedules"`
	}
	daily := func(method, path, body string) (paused bool, jobs int) {
		var got schedules
		a.answer(t, &got, method, path, body)
		require.Equal(t, "daily_rollup", got.Schedules[0].Name)
		return got.Schedules[0].PausedAt != nil, len(got.Schedules[0].Jobs)
	}
	for _, step := range []struct {
		verb   string
		paused bool
		jobs   int
	}{{"pause", true, 0}, {"resume", false, 0}, {"run", false, 1}} {
		paused, jobs := daily("POST", "/api/schedules/daily_rollup/"+step.verb, "{}")
		require.Equal(t, step.paused, paused, step.verb)
		require.Equal(t, step.jobs, jobs, step.verb)
		require.EqualValues(t, 1, a.count(t, "SELECT count(*) FROM daymill.audit WHERE action = '"+step.verb+" schedule' AND via = 'api'"), step.verb)
		require.Equal(t, http.StatusForbidden, a.call(t, "POST", "/api/schedules/daily_rollup/"+step.verb, "{}", basic("viewer", viewerPassword)).status)
	}
	paused, jobs := daily("GET", "/api/schedules", "")
	require.False(t, paused)
	require.Equal(t, 1, jobs)
	require.Equal(t, http.StatusNotFound, a.call(t, "POST", "/api/schedules/verify_dates/pause", "{}").status)
}

func TestAPIQueues(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), nil)
	type queues struct {
		Queues []struct {
			Name     string  `json:"name"`
			PausedAt *string `json:"paused_at"`
			SeenAt   *string `json:"seen_at"`
		} `json:"queues"`
	}
	var got queues
	a.answer(t, &got, "GET", "/api/queues", "")
	require.Len(t, got.Queues, 4)
	require.Nil(t, got.Queues[0].SeenAt)
	name := got.Queues[0].Name
	require.Equal(t, http.StatusNotFound, a.call(t, "POST", "/api/queues/"+name+"/pause", "{}").status, "no worker has created it")
	a.db.Do(t, "INSERT INTO river_queue (name, updated_at) VALUES ($1, now()), ('of_the_application', now())", name)
	a.answer(t, &got, "POST", "/api/queues/"+name+"/pause", "{}")
	require.NotNil(t, got.Queues[0].PausedAt)
	require.NotNil(t, got.Queues[0].SeenAt)
	got = queues{}
	a.answer(t, &got, "POST", "/api/queues/"+name+"/resume", "{}")
	require.Nil(t, got.Queues[0].PausedAt)
	require.Equal(t, http.StatusNotFound, a.call(t, "POST", "/api/queues/of_the_application/pause", "{}").status)
	require.Equal(t, http.StatusForbidden, a.call(t, "POST", "/api/queues/"+name+"/pause", "{}", basic("viewer", viewerPassword)).status)
	require.EqualValues(t, 2, a.count(t, "SELECT count(*) FROM daymill.audit WHERE action IN ('pause queue', 'resume queue') AND via = 'api'"))
}

// TestAPIStatus: the API says what the overview says.
func TestAPIStatus(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), nil)
	var got struct {
		Verdict  struct{ Check, Level, Sentence string } `json:"verdict"`
		Findings []struct{ Sentence string }             `json:"findings"`
		Dates    map[string]int64                        `json:"dates"`
		Queue    struct {
			ByState map[string]int64 `json:"by_state"`
		} `json:"queue"`
	}
	a.db.Do(t, "INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id) VALUES ('2026-03-01', 'failed', 1, 1)")
	a.db.Do(t, "INSERT INTO river_job (kind, args, max_attempts, queue, state) VALUES ('rollup_day', '{\"date\": \"2026-03-02\"}', 25, 'daymill', 'available')")
	a.answer(t, &got, "GET", "/api/status", "", basic("viewer", viewerPassword))
	require.Equal(t, "bad", got.Verdict.Level)
	require.Equal(t, got.Verdict.Sentence, got.Findings[0].Sentence)
	require.EqualValues(t, 1, got.Dates["failed"])
	require.EqualValues(t, 1, got.Queue.ByState["available"])
	page := a.get(t, "/")
	require.Contains(t, page.body, got.Verdict.Sentence[:20])
}
