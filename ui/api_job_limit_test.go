package ui_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
)

// TestAPIManyJobsLimits: what a call that changes many jobs accepts, where it continues, and what remains of one that fails.
func TestAPIManyJobsLimits(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), func(c *ui.Config) { c.Clock = &fastClock{} })
	send := func(verb, body string) changedJobs {
		t.Helper()
		return a.changeJobs(t, verb, body)
	}
	entries := func() int64 { return a.count(t, "SELECT count(*) FROM daymill.audit WHERE action LIKE '% jobs'") }
	insert := func(kind string, n int) (ids []int64) {
		return pgtest.Value[[]int64](t, a.db, `WITH made AS (
			INSERT INTO river_job (kind, args, max_attempts, state, finalized_at, attempt, queue)
			SELECT $1, jsonb_build_object('date', date '2026-03-01' - i), 6, 'discarded', now(), 6, 'daymill' FROM generate_series(1, $2::integer) AS i
			RETURNING id
		) SELECT array_agg(id ORDER BY id) FROM made`, kind, n)
	}
	list := func(ids ...int64) string {
		text, err := json.Marshal(ids)
		require.NoError(t, err)
		return string(text)
	}
	cursor := func(content string) string { return base64.RawURLEncoding.EncodeToString([]byte(content)) }

	// How many ids a call takes, and which cursors.
	many := func(n int) string { return `{"ids": [` + strings.Repeat("999999,", n-1) + `999998], "dry_run": true}` }
	require.Equal(t, http.StatusOK, a.call(t, "POST", "/api/jobs/delete", many(5000)).status)
	require.Equal(t, http.StatusUnprocessableEntity, a.call(t, "POST", "/api/jobs/delete", many(5001)).status)
	for content, status := range map[string]int{
		`{"m": 1, "t": "2026-03-01T00:00:00Z", "b": 1}`:                   http.StatusOK,
		`{"m": 9223372036854775807, "t": "2026-03-01T00:00:00Z", "b": 1}`: http.StatusUnprocessableEntity,
		`{"m": 1, "t": "2026-03-01T00:00:00Z", "b": -1}`:                  http.StatusUnprocessableEntity,
		`{"m": 1, "t": "1999-12-31T23:59:59Z"}`:                           http.StatusUnprocessableEntity,
		`{"m": 1, "t": "-0001-01-01T00:00:00Z"}`:                          http.StatusUnprocessableEntity,
		`{"m": 1}`:                                                        http.StatusUnprocessableEntity,
	} {
		body := fmt.Sprintf(`{"all": true, "dry_run": true, "cursor": %q}`, cursor(content))
		require.Equal(t, status, a.call(t, "POST", "/api/jobs/delete", body).status, content)
	}

	// A job that is named twice is one job. A call that changes nothing leaves no entry in the audit.
	jobs := insert("backfill", 6)
	require.Equal(t, 2, send("retry", `{"ids": `+list(jobs[0], jobs[1], jobs[0])+`, "dry_run": true}`).Jobs)
	require.Equal(t, changedJobs{Jobs: 2, Skipped: map[string]int{}}, send("retry", `{"ids": `+list(jobs[0], jobs[1], jobs[0])+`}`))
	require.EqualValues(t, 1, entries())
	require.Equal(t, changedJobs{Skipped: map[string]int{"waiting": 2}}, send("retry", `{"ids": `+list(jobs[0], jobs[1])+`}`))
	require.EqualValues(t, 1, entries())

	// A cursor continues below the last job of the call before, for ids and for a filter.
	now := send("delete", `{"ids": `+list(jobs...)+`, "dry_run": true}`)
	var at map[string]any
	content, err := base64.RawURLEncoding.DecodeString(*now.Next)
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(content)))
	decoder.UseNumber()
	require.NoError(t, decoder.Decode(&at))
	below := func(id int64) string {
		at["b"] = id
		text, err := json.Marshal(at)
		require.NoError(t, err)
		return cursor(string(text))
	}
	require.Equal(t, 1, send("delete", fmt.Sprintf(`{"ids": %s, "cursor": %q}`, list(jobs...), below(jobs[1]))).Jobs)
	require.Equal(t, 1, send("delete", fmt.Sprintf(`{"all": true, "cursor": %q}`, below(jobs[2]))).Jobs)
	require.Equal(t, jobs[2:], pgtest.Value[[]int64](t, a.db, "SELECT array_agg(id ORDER BY id) FROM river_job"))

	// The events of these dates are gone: a retry of many jobs may not lose the metrics of any.
	dates := insert("rollup_day", 2)
	require.Equal(t, 2, send("retry", `{"ids": `+list(dates...)+`}`).Jobs)
	require.EqualValues(t, 2, a.count(t, "SELECT count(*) FROM analytics.rollup_requests WHERE may_lose = 'none'"))

	// A call that fails before it has changed a job answers with the error. If it has changed some, it tells how to continue.
	ended := insert("backfill", 250)
	a.db.Do(t, `CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
			IF OLD.id <= current_setting('test.refused')::bigint THEN RAISE 'no more'; END IF;
			RETURN OLD;
		END$$;
		CREATE TRIGGER refuse BEFORE DELETE ON river_job FOR EACH ROW EXECUTE FUNCTION public.refuse()`)
	refuse := func(upTo int64) {
		a.db.Do(t, fmt.Sprintf("ALTER FUNCTION public.refuse() SET test.refused = '%d'", upTo))
	}
	refuse(ended[249])
	before := entries()
	require.Equal(t, http.StatusInternalServerError, a.call(t, "POST", "/api/jobs/delete", `{"ids": `+list(ended...)+`}`).status)
	require.Equal(t, before, entries())
	refuse(ended[149])
	got := send("delete", `{"ids": `+list(ended...)+`}`)
	require.Equal(t, 100, got.Jobs)
	require.NotNil(t, got.Next)
	refuse(0)
	for next := got.Next; next != nil; next = got.Next {
		got = send("delete", fmt.Sprintf(`{"ids": %s, "cursor": %q}`, list(ended...), *next))
	}
	require.EqualValues(t, 0, a.count(t, fmt.Sprintf("SELECT count(*) FROM river_job WHERE id >= %d", ended[0])))
}
