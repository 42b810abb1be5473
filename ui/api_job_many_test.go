package ui_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/ui"
	"github.com/daymill/daymill/ui/api/client"
)

// fastClock is a clock on which a second passes with each look.
type fastClock struct {
	pace.SystemClock

	looks atomic.Int64
}

func (c *fastClock) Now() time.Time {
	return time.Date(2026, time.March, 10, 12, 0, 0, 0, time.UTC).Add(time.Duration(c.looks.Add(1)) * time.Second)
}

// changedJobs is the answer to a call that changes many jobs.
type changedJobs struct {
	Jobs    int            `json:"jobs"`
	Skipped map[string]int `json:"skipped"`
	Next    *string        `json:"next_cursor"`
}

func (a *api) changeJobs(t *testing.T, verb, body string) (got changedJobs) {
	t.Helper()
	a.answer(t, &got, "POST", "/api/jobs/"+verb, body)
	return got
}

// TestAPIManyJobs: a call retries, cancels or deletes the jobs of a filter or of ids, and no others; sent again, it changes none twice.
func TestAPIManyJobs(t *testing.T) {
	t.Parallel()
	a := newAPI(t, database(t), func(c *ui.Config) { c.Clock = &fastClock{} })
	const insert = `INSERT INTO river_job (kind, args, max_attempts, state, finalized_at, attempt, queue)
		SELECT $1, jsonb_build_object('n', i), 6, 'discarded', now(), 6, 'daymill' FROM generate_series(1, $2::integer) AS i`
	a.db.Do(t, insert, "backfill", 450)
	a.db.Do(t, insert, "rollup_day", 3)
	send := func(verb, body string) changedJobs {
		t.Helper()
		return a.changeJobs(t, verb, body)
	}
	left := func(where string) int64 { return a.count(t, "SELECT count(*) FROM river_job WHERE "+where) }

	// A filter: looked at first, and then in several calls, because time runs fast here.
	const filter = `{"all": true, "kind": "backfill", "state": "discarded"`
	dry := send("delete", filter+`, "dry_run": true}`)
	require.Equal(t, 450, dry.Jobs)
	require.NotNil(t, dry.Next)
	require.EqualValues(t, 453, left("true"))
	a.db.Do(t, insert, "backfill", 1) // after the look
	var done, calls int
	for next := dry.Next; next != nil; calls++ {
		got := send("delete", filter+`, "cursor": "`+*next+`"}`)
		done, next = done+got.Jobs, got.Next
	}
	require.Equal(t, 450, done)
	require.Greater(t, calls, 1)
	require.EqualValues(t, 1, left("kind = 'backfill'"))
	require.EqualValues(t, 3, left("kind = 'rollup_day'"))
	require.EqualValues(t, 450, a.count(t, `SELECT sum((detail ->> 'deleted')::bigint)::bigint FROM daymill.audit
		WHERE action = 'delete jobs' AND target = 'discarded jobs of kind backfill' AND via = 'api' AND actor = 'api'`))

	// Ids: a repeated call with the cursor of a look changes no job twice, even if the job has failed again.
	ids := pgtest.Value[string](t, a.db, "SELECT '[' || string_agg(id::text, ',') || ',999999]' FROM river_job WHERE kind = 'rollup_day'")
	dry = send("retry", `{"ids": `+ids+`, "dry_run": true}`)
	require.Equal(t, 3, dry.Jobs)
	body := fmt.Sprintf(`{"ids": %s, "cursor": %q}`, ids, *dry.Next)
	require.Equal(t, changedJobs{Jobs: 3, Skipped: map[string]int{"changed": 1}}, send("retry", body))
	a.db.Do(t, "UPDATE river_job SET state = 'discarded', finalized_at = now() WHERE kind = 'rollup_day'")
	require.Equal(t, changedJobs{Skipped: map[string]int{"changed": 4}}, send("retry", body))
	require.Equal(t, changedJobs{Jobs: 3, Skipped: map[string]int{"changed": 1}}, send("retry", `{"ids": `+ids+`}`))
	require.Equal(t, changedJobs{Skipped: map[string]int{"changed": 1, "waiting": 3}}, send("retry", `{"ids": `+ids+`}`))
	require.Equal(t, changedJobs{Jobs: 3, Skipped: map[string]int{"changed": 1}}, send("cancel", `{"ids": `+ids+`}`))
	require.EqualValues(t, 3, left("state = 'cancelled'"))
	require.EqualValues(t, 1, a.count(t, "SELECT count(*) FROM daymill.audit WHERE action = 'cancel jobs' AND target = 'chosen jobs' AND detail ->> 'cancelled' = '3'"))

	foreign := base64.RawURLEncoding.EncodeToString([]byte(`{"m": -1, "t": "2026-03-01T00:00:00Z"}`))
	for body, status := range map[string]int{
		`{}`:                                         http.StatusUnprocessableEntity,
		`{"ids": [1], "all": true}`:                  http.StatusUnprocessableEntity,
		`{"ids": [1], "kind": "verify"}`:             http.StatusUnprocessableEntity,
		`{"all": true, "kind": "gone"}`:              http.StatusUnprocessableEntity,
		`{"all": true, "from": "x"}`:                 http.StatusUnprocessableEntity,
		`{"all": true, "cursor": "x"}`:               http.StatusUnprocessableEntity,
		`{"all": true, "cursor": "` + foreign + `"}`: http.StatusUnprocessableEntity,
		`{"all": true, "age": 1}`:                    http.StatusBadRequest,
	} {
		require.Equal(t, status, a.call(t, "POST", "/api/jobs/delete", body).status, body)
	}
	for _, verb := range []string{"cancel", "delete", "retry"} {
		require.Equal(t, http.StatusForbidden, a.call(t, "POST", "/api/jobs/"+verb, `{"all": true}`, basic("viewer", viewerPassword)).status, verb)
	}
	require.EqualValues(t, 4, left("true"))

	c, err := client.NewClientWithResponses(a.URL, client.WithToken("token"))
	require.NoError(t, err)
	deleted, err := c.DeleteJobsWithResponse(t.Context(), nil, client.JobSelection{All: new(true)})
	require.NoError(t, err)
	require.NotNil(t, deleted.JSON200, string(deleted.Body))
	require.Equal(t, 4, deleted.JSON200.Jobs)
	require.Nil(t, deleted.JSON200.NextCursor)
}
