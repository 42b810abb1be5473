package ui_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/report"
)

type captureAPI struct {
	*captureBundle

	api *api
}

// setupCaptureAPI serves the API over a log of changes and a consumer.
func setupCaptureAPI(t *testing.T, changes int) *captureAPI {
	t.Helper()
	db := database(t)
	b := &captureAPI{api: newAPI(t, db, nil)}
	b.captureBundle = &captureBundle{site: b.api.site}
	b.fill(t, changes)
	return b
}

// read makes a call that must succeed, and decodes the answer.
func read[T any](t *testing.T, b *captureAPI, method, path, body string) (into T) {
	t.Helper()
	answer := b.api.call(t, method, path, body)
	require.Less(t, answer.status, 300, answer.body)
	b.api.requireValid(t, method, path, body)
	require.NoError(t, json.Unmarshal([]byte(answer.body), &into))
	return into
}

type captureList struct {
	Changes    []struct{ Position int64 } `json:"changes"`
	Letters    []report.Letter            `json:"dead_letters"`
	NextCursor *string                    `json:"next_cursor"`
}

func TestAPICapture(t *testing.T) {
	t.Parallel()

	t.Run("Access", func(t *testing.T) {
		t.Parallel()
		b := setupCaptureAPI(t, 3)
		for path, methods := range map[string][]string{
			"/api/changes": {"GET"}, "/api/changes/app/1": {"GET"}, "/api/consumers": {"GET"}, "/api/consumers/events": {"GET", "PUT", "DELETE"},
			"/api/consumers/events/deadletters": {"GET"}, "/api/consumers/events/deadletters/discard": {"POST"},
			"/api/consumers/events/deadletters/replay": {"POST"}, "/api/consumers/events/pause": {"POST"}, "/api/consumers/events/resume": {"POST"},
			"/api/consumers/events/rewind": {"POST"}, "/api/consumers/events/snapshot": {"POST"}, "/api/deadletters": {"GET"},
			"/api/snapshots": {"GET"}, "/api/snapshots/1": {"POST"}, "/api/streams": {"GET"}, "/api/streams/app": {"PUT"},
		} {
			for _, method := range methods {
				require.Equal(t, http.StatusUnauthorized, b.api.call(t, method, path, "", header("Authorization", "")).status, path)
				status := b.api.call(t, method, path, "", basic("viewer", viewerPassword)).status
				if method == "GET" {
					require.Equal(t, http.StatusOK, status, path)
				} else {
					require.Equal(t, http.StatusForbidden, status, path)
				}
			}
		}
		require.EqualValues(t, 1, b.count(t, "SELECT count(*) FROM capture.consumer"))
		// A form of another site cannot send JSON.
		require.Equal(t, http.StatusUnsupportedMediaType, b.api.call(t, "POST", "/api/consumers/events/resume", "").status)
	})

	t.Run("Changes", func(t *testing.T) {
		t.Parallel()
		b := setupCaptureAPI(t, 123)
		var positions []int64
		path := "/api/changes?limit=50"
		for {
			page := read[captureList](t, b, "GET", path, "")
			for _, c := range page.Changes {
				positions = append(positions, c.Position)
			}
			if page.NextCursor == nil {
				break
			}
			path = "/api/changes?limit=50&cursor=" + *page.NextCursor
		}
		require.Len(t, positions, 123)
		require.EqualValues(t, 123, positions[0])
		require.EqualValues(t, 1, positions[122])
		require.Len(t, read[captureList](t, b, "GET", "/api/changes?table=public.orders&key=7", "").Changes, 12)
		require.Empty(t, read[captureList](t, b, "GET", "/api/changes?table=app.orders", "").Changes)
		require.Empty(t, read[captureList](t, b, "GET", "/api/changes?op=delete", "").Changes)
		until := committed.Add(5 * time.Second).Format(time.RFC3339)
		require.Len(t, read[captureList](t, b, "GET", "/api/changes?until="+until, "").Changes, 5)
		require.EqualValues(t, 7, read[struct{ Position int64 }](t, b, "GET", "/api/changes/app/7", "").Position)
		for _, query := range []string{"database=nowhere", "key={", "limit=0", "limit=1001", "cursor=x", "op=explode", "until=yesterday"} {
			require.Equal(t, http.StatusUnprocessableEntity, b.api.call(t, "GET", "/api/changes?"+query, "").status, query)
		}
		for _, path := range []string{"/api/changes/app/999", "/api/changes/app/x", "/api/changes/nowhere/1"} {
			require.Equal(t, http.StatusNotFound, b.api.call(t, "GET", path, "").status, path)
		}
	})

	t.Run("Consumers", func(t *testing.T) {
		t.Parallel()
		b := setupCaptureAPI(t, 20)
		type one struct {
			State, PausedBecause string
			Position, Behind     int64
			Lag                  float64          `json:"lag_seconds"`
			Settings             map[string]any   `json:"settings"`
			Each                 []map[string]any `json:"each_shard"`
		}
		all := read[struct{ Consumers []one }](t, b, "GET", "/api/consumers", "").Consumers
		require.Len(t, all, 1)
		require.EqualValues(t, 20, all[0].Behind)
		require.InDelta(t, time.Hour.Seconds()-1, all[0].Lag, 0.1)
		shown := read[one](t, b, "GET", "/api/consumers/events", "")
		require.Equal(t, map[string]any{"url": "$EVENTS_URL"}, shown.Settings)
		require.Len(t, shown.Each, 2)
		require.Equal(t, "paused", read[one](t, b, "POST", "/api/consumers/events/pause", `{"because": "too slow"}`).State)
		require.Equal(t, "active", read[one](t, b, "POST", "/api/consumers/events/resume", `{}`).State)
		require.EqualValues(t, 12, read[one](t, b, "POST", "/api/consumers/events/rewind", `{"to": 12}`).Position)
		require.EqualValues(t, 0, read[one](t, b, "POST", "/api/consumers/events/rewind", `{"to": 0}`).Position)
		read[one](t, b, "POST", "/api/consumers/events/snapshot", `{"tables": ["public.orders"]}`)
		require.EqualValues(t, 1, b.count(t, "SELECT count(*) FROM capture.snapshot_request WHERE consumer = 'events'"))
		b.db.Do(t, `INSERT INTO capture.captured (stream_id, schema_name, table_name, oid, identity) SELECT id, 'public', 'orders', 1, 'd' FROM capture.stream;
			UPDATE capture.stream SET followed = tables || view_tables`)
		require.Equal(t, http.StatusUnprocessableEntity, b.api.call(t, "POST", "/api/consumers/events/snapshot", `{"tables": ["public.nosuch"]}`).status)
		for _, body := range []string{`{}`, `{"to": -1}`, `{"to": 21}`, `{"to": 9223372036854775807}`} {
			require.Equal(t, http.StatusUnprocessableEntity, b.api.call(t, "POST", "/api/consumers/events/rewind", body).status, body)
		}
		for path, body := range map[string]string{"pause": "{}", "resume": "{}", "rewind": `{"to": 1}`, "snapshot": "{}"} {
			require.Equal(t, http.StatusNotFound, b.api.call(t, "POST", "/api/consumers/none/"+path, body).status, path)
		}
		require.Equal(t, http.StatusNotFound, b.api.call(t, "GET", "/api/consumers/none", "").status)
		require.Equal(t, http.StatusNoContent, b.api.call(t, "DELETE", "/api/consumers/events", "").status)
		require.Equal(t, http.StatusNotFound, b.api.call(t, "DELETE", "/api/consumers/events", "").status)
		require.Equal(t, "pause consumer,resume consumer,rewind consumer,rewind consumer,snapshot consumer,remove consumer", b.text(t,
			"SELECT string_agg(action, ',' ORDER BY id) FROM daymill.audit WHERE via = 'api' AND actor = 'api' AND target = 'events'"))
	})

	t.Run("DeadLetters", func(t *testing.T) {
		t.Parallel()
		b := setupCaptureAPI(t, 40)
		b.letters(t, 40)
		groups := read[struct{ Groups []report.Group }](t, b, "GET", "/api/deadletters", "").Groups
		require.Len(t, groups, 3)
		require.EqualValues(t, 20, groups[0].Letters)
		first := read[captureList](t, b, "GET", "/api/consumers/events/deadletters?limit=30", "")
		require.Len(t, first.Letters, 30)
		rest := read[captureList](t, b, "GET", "/api/consumers/events/deadletters?limit=30&cursor="+*first.NextCursor, "")
		require.Len(t, rest.Letters, 10)
		require.Nil(t, rest.NextCursor)
		require.Len(t, read[captureList](t, b, "GET", "/api/consumers/events/deadletters?state=refused", "").Letters, 20)
		letter := read[report.Letter](t, b, "GET", "/api/consumers/events/deadletters/2", "")
		require.Equal(t, "<html>no</html>", letter.Answer)
		require.EqualValues(t, 2, letter.Change.Position)

		count := func(action, body string) int64 {
			return read[struct {
				Letters int64 `json:"dead_letters"`
			}](t, b, "POST", "/api/consumers/events/deadletters/"+action, body).Letters
		}
		require.EqualValues(t, 4, count("replay", `{"positions": [2]}`), "all of its key")
		require.EqualValues(t, 2, count("discard", `{"positions": [1, 3]}`))
		require.EqualValues(t, 10, count("discard", `{"all": true, "state": "refused", "reason": "it answered 400"}`))
		require.EqualValues(t, 28, count("replay", `{"all": true}`))
		require.EqualValues(t, 28, count("discard", `{"all": true}`))
		for _, body := range []string{`{}`, `{"all": true, "positions": [1]}`, `{"positions": [1], "state": "refused"}`, `{"all": true, "state": "odd"}`} {
			require.Equal(t, http.StatusUnprocessableEntity, b.api.call(t, "POST", "/api/consumers/events/deadletters/discard", body).status, body)
		}
		for _, path := range []string{"events/deadletters/discard", "none/deadletters/replay"} {
			require.Equal(t, http.StatusNotFound, b.api.call(t, "POST", "/api/consumers/"+path, `{"all": true}`).status, path)
		}
		for _, path := range []string{"events/deadletters/2", "none/deadletters", "none/deadletters/2"} {
			require.Equal(t, http.StatusNotFound, b.api.call(t, "GET", "/api/consumers/"+path, "").status, path)
		}
		require.EqualValues(t, 5, b.count(t, "SELECT count(*) FROM daymill.audit WHERE via = 'api' AND action LIKE '%dead letters'"))
	})

	t.Run("Streams", func(t *testing.T) {
		t.Parallel()
		b := setupCaptureAPI(t, 5)
		b.db.Do(t, `INSERT INTO capture.captured (stream_id, schema_name, table_name, oid, identity) SELECT id, 'public', 'orders', 1, 'd' FROM capture.stream;
			INSERT INTO capture.gap (stream_id, kind, reason, after, repaired_at) SELECT id, 'slot', 'gone', 3, CASE n WHEN 1 THEN now() END FROM capture.stream, generate_series(1, 2) AS n;
			INSERT INTO capture.snapshot (stream_id, schema_name, table_name, state, rows, estimate) SELECT id, 'public', 'orders', 'running', 7, 100 FROM capture.stream`)
		streams := read[struct {
			Streams []struct {
				report.Stream

				Tables []report.Table
			}
		}](t, b, "GET", "/api/streams", "").Streams
		require.Len(t, streams, 1)
		require.Equal(t, "app", streams[0].Database)
		require.Len(t, streams[0].Gaps, 1)
		require.Len(t, streams[0].Snapshots, 1)
		require.Equal(t, "public.orders", streams[0].Tables[0].Table)
		id := streams[0].Snapshots[0].ID
		change := func(action string) int {
			return b.api.call(t, "POST", fmt.Sprintf("/api/snapshots/%d", id), fmt.Sprintf(`{"action": %q}`, action)).status
		}
		for _, action := range []string{"pause", "resume", "restart", "cancel"} {
			require.Equal(t, http.StatusNoContent, change(action), action)
		}
		require.Equal(t, http.StatusNotFound, change("cancel"))
		require.Equal(t, http.StatusUnprocessableEntity, change("explode"))
		require.Equal(t, "cancelled", read[struct{ Snapshots []report.Snapshot }](t, b, "GET", "/api/snapshots?database=app", "").Snapshots[0].State)
		require.Empty(t, read[struct{ Snapshots []report.Snapshot }](t, b, "GET", "/api/snapshots?consumer=events", "").Snapshots)
	})
}
