package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestAlert: the web process tells that no worker is alive, because the workers cannot.
func TestAlert(t *testing.T) {
	received := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- string(body)
	}))
	t.Cleanup(receiver.Close)
	t.Setenv("OPS_URL", receiver.URL)
	db := pgtest.Empty(t)
	do := func(want int, args ...string) string {
		code, stdout, stderr := command(t.Context(), db.URL, args...)
		require.Equal(t, want, code, "%v: %s", args, stderr)
		return stdout + stderr
	}
	do(exitOK, "migrate")
	require.Contains(t, do(exitOK, "alert", "list"), "nobody is told")
	require.Contains(t, do(exitUsage, "alert", "test"), "there is no channel")
	file := filepath.Join(t.TempDir(), "daymill.yaml")
	require.NoError(t, os.WriteFile(file, []byte("alerts: {after: 0s, no_worker: 2m, pages: 'https://d.example.com/', channels: [{name: ops, kind: webhook, url: $OPS_URL, allow_private: true}]}"), 0o600))
	require.Contains(t, do(exitOK, "apply", "-f", file, "--dry-run"), "set channel ops")
	require.Contains(t, do(exitOK, "alert", "list"), "nobody is told")
	require.Contains(t, do(exitOK, "apply", "-f", file), "set channel ops")
	require.Contains(t, do(exitOK, "apply", "-f", file), "as in the file")
	require.Contains(t, do(exitOK, "alert", "test"), "sent a test to ops")
	require.Contains(t, <-received, "alert.test")
	require.Contains(t, do(exitUsage, "alert", "test", "ops"), "tested a moment ago")

	web := start(t, "web", "--database-url", db.URL, "--listen", "127.0.0.1:0")
	for told := ""; !strings.Contains(told, `"finding":"workers"`); {
		select {
		case told = <-received:
			require.Contains(t, told, "alert.open")
		case <-time.After(5 * time.Minute):
			require.Fail(t, "nobody told that no worker is alive")
		}
	}
	require.Equal(t, exitOK, web.stop(t))
	list := do(exitOK, "alert", "list", "--json")
	require.Contains(t, list, `"finding": "workers"`)
	require.NotContains(t, list, receiver.URL)
	require.Contains(t, do(exitOK, "alert", "list"), "No worker has been seen")
}
