package ui_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/worker"
	"github.com/daymill/daymill/jobs"
)

// TestHalt: every page says what prevents requested work, and no page promises that it will be done.
func TestHalt(t *testing.T) {
	t.Parallel()
	const (
		noWorker = "no worker has been seen for two minutes"
		paused   = "The queue daymill is paused"
		promise  = "a worker takes it within a second or two"
	)
	s := serve(t, database(t), nil)
	request := func() string { return s.follow(t, s.post(t, "/dates/2026-03-01/request", "x=1")).body }
	for _, path := range []string{"/dates", "/jobs", "/backfills", "/verifications", "/capture"} {
		require.Contains(t, s.get(t, path).body, noWorker, path)
	}
	body := request()
	require.Contains(t, body, "Requested.")
	require.NotContains(t, body, promise)

	_, err := s.db.Exec(t.Context(), `INSERT INTO daymill.workers (name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower)
		VALUES ('w', 'test', 2, 1, 1000, 2, 2, 0, false)`)
	require.NoError(t, err)
	body = request()
	require.NotContains(t, body, noWorker)
	require.Contains(t, body, promise)

	installation, err := schema.Get(t.Context(), s.db.DB)
	require.NoError(t, err)
	_, err = s.db.Exec(t.Context(), "INSERT INTO "+installation.RiverSchema+".river_queue (name, metadata, updated_at) VALUES ($1, '{}', now())", jobs.QueueRollup)
	require.NoError(t, err)
	admin, err := worker.NewAdmin(s.db.DB, installation)
	require.NoError(t, err)
	require.NoError(t, admin.PauseQueue(t.Context(), jobs.QueueRollup, audit.Who{Actor: "test", Via: audit.ViaCLI}))
	body = request()
	require.Contains(t, body, paused)
	require.NotContains(t, body, promise)
}

// TestNotice: a notice is shown once.
func TestNotice(t *testing.T) {
	t.Parallel()
	s := serve(t, database(t), nil)
	answer := s.post(t, "/dates/2026-03-01/request", "x=1")
	require.NotContains(t, answer.header.Get("Location"), "?")
	shown := s.follow(t, answer)
	require.Contains(t, shown.body, "Requested")
	require.Contains(t, shown.header.Get("Set-Cookie"), "daymill_notice=; Path=/; Max-Age=0")
	require.NotContains(t, s.get(t, answer.header.Get("Location")).body, "Requested.")

	// A live part of the page does not use up the page's notice.
	request := s.request(t, "admin", http.MethodGet, "/", "")
	request.Header.Set("Hx-Request", "true")
	request.Header.Set("Hx-Request-Type", "partial")
	request.Header.Set("Hx-Target", "div#overview")
	request.AddCookie(&http.Cookie{Name: "daymill_notice", Value: "requested"})
	require.Empty(t, s.do(t, request).header.Get("Set-Cookie"))

	// An unknown name shows no text.
	request = s.request(t, "admin", http.MethodGet, "/dates", "")
	request.AddCookie(&http.Cookie{Name: "daymill_notice", Value: "forged"})
	require.NotContains(t, s.do(t, request).body, "forged")
}
