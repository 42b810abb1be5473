package webhook_test

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/capture/sink/webhook"
	"github.com/daymill/daymill/internal/pace"
)

var update = flag.Bool("update", false, "record the webhooks again; run make signatures afterwards")

// fixed is a clock that does not move.
type fixed struct{ pace.SystemClock }

func (fixed) Now() time.Time { return time.Date(2026, time.March, 1, 10, 0, 0, 0, time.UTC) }

// recording is what `make signatures` verifies with the npm package standardwebhooks.
type recording struct {
	Secret   string     `json:"secret"`
	Requests []recorded `json:"requests"`
}

type recorded struct {
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// TestWebhook_Recorded: webhooks are byte for byte the ones that the Standard Webhooks library for JavaScript accepted.
func TestWebhook_Recorded(t *testing.T) {
	t.Parallel()
	got := recording{Secret: secret}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		headers := map[string]string{}
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			headers[name] = r.Header.Get(name)
		}
		got.Requests = append(got.Requests, recorded{headers, string(body)})
	}))
	t.Cleanup(server.Close)
	strange := sinktest.Insert(2, "é😀<&>\u2028\"\\")
	for _, batch := range []bool{false, true} {
		s, err := webhook.Open(webhook.Config{URL: server.URL, Secret: secret, Batch: batch, AllowPrivate: true, Clock: fixed{}})
		require.NoError(t, err)
		sinktest.Deliver(t, s, []change.Change{sinktest.Insert(1, 1), strange, sinktest.Delete(3, 1)}...)
		require.NoError(t, s.Close())
	}
	document, err := json.MarshalIndent(got, "", "  ")
	require.NoError(t, err)
	const name = "testdata/recorded.json"
	if *update {
		require.NoError(t, os.WriteFile(name, append(document, '\n'), 0o600))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), string(document)+"\n")
	require.Len(t, got.Requests, 4)
}
