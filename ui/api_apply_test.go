package ui_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/report"
)

// TestAPIApply: the API adds and changes what `daymill apply` does, with the same checks.
func TestAPIApply(t *testing.T) {
	t.Parallel()

	type sink struct {
		report.Sink

		Settings map[string]any `json:"settings"`
	}

	t.Run("Sinks", func(t *testing.T) {
		t.Parallel()
		b := setupCaptureAPI(t, 20)
		const body = `{"kind": "webhook", "url": "$HOOK_URL", "tables": ["public.orders"], "from": "snapshot", "shards": 2, "condition": "new.id > 3"}`
		answer := b.api.call(t, "PUT", "/api/consumers/hook", body)
		require.Equal(t, http.StatusCreated, answer.status, answer.body)
		require.EqualValues(t, 1, b.count(t, "SELECT count(*) FROM capture.snapshot_request WHERE consumer = 'hook'"))
		same := read[sink](t, b, "PUT", "/api/consumers/hook", body)
		require.Equal(t, []any{int64(20), 2}, []any{same.Position, same.Shards})
		changed := read[sink](t, b, "PUT", "/api/consumers/hook", `{"kind": "webhook", "url": "$HOOK_URL", "shards": 2, "allow_private": true}`)
		require.Equal(t, map[string]any{"url": "$HOOK_URL", "allow_private": true}, changed.Settings)
		require.EqualValues(t, 5, read[sink](t, b, "PUT", "/api/consumers/reader", `{"kind": "poll", "from": 5}`).Position)
		require.Equal(t, http.StatusOK, b.api.call(t, "PUT", "/api/consumers/reader", `{"kind": "poll", "from": 5}`).status)

		for body, want := range map[string]string{
			`{"kind": "webhook", "url": "$HOOK_URL"}`:                             "shards",
			`{"kind": "redis", "url": "$HOOK_URL", "delete": ["x"], "shards": 2}`: "kind",
		} {
			answer := b.api.call(t, "PUT", "/api/consumers/hook", body)
			require.Equal(t, http.StatusConflict, answer.status, answer.body)
			require.Contains(t, answer.body, want)
		}
		for body, want := range map[string]string{
			`{"kind": "webhook"}`: "has no url", `{"kind": "webhook", "url": "https://user:hunter2@host"}`: "environment variable",
			`{"kind": "webhook", "url": "$A", "form": "now"}`: "did you mean from", `{"kind": "webhook", "url": "$A", "name": "other"}`: "address",
			`{"kind": "webhook", "url": "$A", "database": "crm"}`: "not listed under databases", `{"kind": "webhook", "url": "$A", "tables": ["\u0000"], "rename": {"a\u0000": "b"}}`: "code 0",
		} {
			answer := b.api.call(t, "PUT", "/api/consumers/bad", body)
			require.Equal(t, http.StatusUnprocessableEntity, answer.status, answer.body)
			require.Contains(t, answer.body, want)
			require.NotContains(t, answer.body, "hunter2")
		}
		require.Equal(t, http.StatusUnprocessableEntity, b.api.call(t, "PUT", "/api/consumers/Bad%20Name", body).status)
		require.EqualValues(t, 3, b.count(t, "SELECT count(*) FROM capture.consumer"))
	})

	t.Run("Tables", func(t *testing.T) {
		t.Parallel()
		b := setupCaptureAPI(t, 1)
		app := read[report.Stream](t, b, "PUT", "/api/streams/app", `{"tables": ["public.orders", "!public.drafts"], "repair": false}`)
		require.Equal(t, "app", app.Database)
		const stored = "SELECT url || ' ' || tables::text || ' ' || repair FROM capture.stream WHERE name = "
		require.Equal(t, "$DATABASE_URL {public.orders,!public.drafts} false", b.text(t, stored+"'app'"))
		require.Equal(t, http.StatusUnprocessableEntity, b.api.call(t, "PUT", "/api/streams/crm", `{"tables": ["sales"]}`).status)
		read[report.Stream](t, b, "PUT", "/api/streams/crm", `{"tables": ["sales"], "url": "$CRM_URL"}`)
		read[report.Stream](t, b, "PUT", "/api/streams/crm", `{"tables": []}`)
		require.Equal(t, "$CRM_URL {} true", b.text(t, stored+"'crm'"))
		require.Equal(t, http.StatusNoContent, b.api.call(t, "PUT", "/api/streams/none", `{"tables": [], "url": "$NONE_URL"}`).status)
		for _, body := range []string{`{}`, `{"tables": ["a.b.c"]}`, `{"tables": ["sales"], "url": "postgres://host"}`} {
			require.Equal(t, http.StatusUnprocessableEntity, b.api.call(t, "PUT", "/api/streams/crm", body).status, body)
		}
		require.Equal(t, http.StatusUnprocessableEntity, b.api.call(t, "PUT", "/api/streams/CRM", `{"tables": ["sales"], "url": "$CRM_URL"}`).status)
		require.EqualValues(t, 3, b.count(t, "SELECT count(*) FROM daymill.audit WHERE action = 'capture tables' AND via = 'api' AND actor = 'api'"))
	})
}
