package webhook_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/capture/sink/webhook"
)

var secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// receiver is an application that verifies webhooks and stores their changes.
type receiver struct {
	address string
	batch   bool
	server  *httptest.Server
	verify  *standardwebhooks.Webhook

	mu       sync.Mutex
	received []change.Change
	ids      []string
	bodies   []string
}

func newReceiver(t *testing.T, batch bool) *receiver {
	t.Helper()
	verify, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	r := &receiver{batch: batch, verify: verify, address: "127.0.0.1:0"}
	r.Start(t)
	t.Cleanup(func() { r.server.Close() })
	return r
}

func (r *receiver) Start(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", r.address)
	require.NoError(t, err)
	r.address = listener.Addr().String()
	r.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: r}}
	r.server.Start()
}

func (r *receiver) Stop(*testing.T) { r.server.Close() }

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err == nil {
		err = r.verify.Verify(body, request.Header)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var changes []change.Change
	if r.batch {
		err = json.Unmarshal(body, &changes)
	} else {
		changes = make([]change.Change, 1)
		err = json.Unmarshal(body, &changes[0])
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, c := range changes {
		if id, _ := sink.KeyValues(c); id == "666666" {
			http.Error(w, "no such order", http.StatusUnprocessableEntity)
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = append(r.received, changes...)
	r.ids = append(r.ids, request.Header.Get("Webhook-Id"))
	r.bodies = append(r.bodies, string(body))
}

func (r *receiver) Open(t *testing.T) sink.Sink {
	t.Helper()
	w, err := webhook.Open(webhook.Config{
		URL: "http://user:" + sinktest.Password + "@" + r.address, Secret: secret, Batch: r.batch, AllowPrivate: true,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

func (r *receiver) Rows(t *testing.T) map[string]int64 {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	return sinktest.Fold(t, r.received)
}

func (*receiver) Poisoned(c change.Change) change.Change { return c }

func TestWebhook(t *testing.T) {
	t.Parallel()

	t.Run("Batches", func(t *testing.T) {
		t.Parallel()
		sinktest.Run(t, func(t *testing.T) sinktest.Target { return newReceiver(t, true) })
	})
	t.Run("OneByOne", func(t *testing.T) {
		t.Parallel()
		sinktest.Run(t, func(t *testing.T) sinktest.Target { return newReceiver(t, false) })
	})
}

// TestWebhook_Body: the body is the change itself, and a repeated post has the same id.
func TestWebhook_Body(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, false)
	s := r.Open(t)
	c := sinktest.Insert(7, 1)
	sinktest.Deliver(t, s, c)
	sinktest.Deliver(t, s, c)
	require.Equal(t, []string{"app-7", "app-7"}, r.ids)
	require.JSONEq(t, `{"position": 7, "stream": "app", "op": "insert", "schema": "public", "table": "orders", "key": {"id": 1},
		"old": null, "new": {"id": 1, "note": "a", "status": "new"}, "unchanged": [], "xid": 707, "lsn": "0/1007", "ordinal": 1,
		"committed_at": "2026-03-01T10:00:00.123456Z", "schema_version": 1, "snapshot": false}`, r.bodies[0])
}

// TestWebhook_Sweep: a sweep is posted separately, without a key.
func TestWebhook_Sweep(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, false)
	s := r.Open(t)
	require.True(t, s.(sink.Sweeper).Sweeps())
	sinktest.Deliver(t, s, sinktest.Sweep(9, 3))
	require.JSONEq(t, `{"position": 9, "stream": "app", "op": "sweep", "schema": "public", "table": "orders", "key": null,
		"old": {"position": 3}, "new": null, "unchanged": [], "xid": 709, "lsn": "0/1009", "ordinal": 1,
		"committed_at": "2026-03-01T10:00:00.123456Z", "schema_version": 1, "snapshot": true}`, r.bodies[0])
}

// TestWebhook_Refused: later changes of a refused key are not posted in the same batch.
func TestWebhook_Refused(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]bool{"Batches": true, "OneByOne": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, batch)
			refusals, err := r.Open(t).Deliver(t.Context(), []change.Change{
				sinktest.Insert(1, 1), sinktest.Insert(2, sinktest.Poison), sinktest.Update(3, 1), sinktest.Update(4, sinktest.Poison),
			})
			require.NoError(t, err)
			require.Equal(t, []sink.Refusal{
				{Index: 1, Reason: "the webhook answered 422 Unprocessable Entity", Answer: "no such order\n"},
				{Index: 3, Reason: sink.Behind(2)},
			}, refusals)
			require.Equal(t, map[string]int64{"1": 3}, r.Rows(t))
		})
	}
}

func TestWebhook_Answers(t *testing.T) {
	t.Parallel()

	answer := func(t *testing.T, status int, header http.Header, count int) ([]sink.Refusal, error) {
		t.Helper()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if request.Header.Get("Webhook-Signature") != "" {
				t.Error("there is a signature, but no secret")
			}
			maps.Copy(w.Header(), header)
			w.WriteHeader(status)
		}))
		t.Cleanup(server.Close)
		s, err := webhook.Open(webhook.Config{URL: server.URL, AllowPrivate: true, Batch: true})
		require.NoError(t, err)
		changes := make([]change.Change, count)
		for i := range changes {
			changes[i] = sinktest.Insert(int64(i+1), i)
		}
		return s.Deliver(t.Context(), changes)
	}

	t.Run("BusyForSeconds", func(t *testing.T) {
		t.Parallel()
		_, err := answer(t, http.StatusTooManyRequests, http.Header{"Retry-After": {"17"}}, 1)
		var retry *sink.RetryError
		require.ErrorAs(t, err, &retry)
		require.Equal(t, 17*time.Second, retry.After)
	})
	t.Run("BusyForYears", func(t *testing.T) {
		t.Parallel()
		for _, header := range []string{"99999999999", "Fri, 31 Dec 2999 23:59:59 GMT"} {
			_, err := answer(t, http.StatusServiceUnavailable, http.Header{"Retry-After": {header}}, 1)
			require.Error(t, err)
			var retry *sink.RetryError
			if header[0] == 'F' {
				require.ErrorAs(t, err, &retry)
				require.Equal(t, time.Hour, retry.After)
			}
		}
	})
	t.Run("Redirect", func(t *testing.T) {
		t.Parallel()
		refusals, err := answer(t, http.StatusFound, http.Header{"Location": {"http://169.254.169.254/latest"}}, 1)
		require.ErrorContains(t, err, "does not follow")
		require.Empty(t, refusals)
	})
	t.Run("TooLarge", func(t *testing.T) {
		t.Parallel()
		refusals, err := answer(t, http.StatusRequestEntityTooLarge, nil, 3)
		require.NoError(t, err)
		require.Len(t, refusals, 3)
	})
	t.Run("Unknown", func(t *testing.T) {
		t.Parallel()
		for _, status := range []int{401, 403, 404, 405, 408, 500, 502, 504} {
			refusals, err := answer(t, status, nil, 1)
			require.Error(t, err, status)
			require.Empty(t, refusals)
		}
	})
}

// TestWebhook_Private: private addresses are refused when they are dialed, whatever name resolves to them.
func TestWebhook_Private(t *testing.T) {
	t.Parallel()
	hit := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hit <- struct{}{} }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	for _, host := range []string{
		"127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]", "127.1.2.3",
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "[fe80::1]", "[fd00::1]", "100.100.100.200",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255", "[::127.0.0.1]",
	} {
		s, err := webhook.Open(webhook.Config{URL: "http://" + host + ":" + port})
		require.NoError(t, err)
		_, err = s.Deliver(t.Context(), []change.Change{sinktest.Insert(1, 1)})
		require.ErrorContains(t, err, "not a public address", host)
	}
	require.Empty(t, hit)
}

func TestOpen_Refused(t *testing.T) {
	t.Parallel()
	for _, config := range []webhook.Config{
		{},
		{URL: "ftp://example.com"},
		{URL: "file:///etc/passwd"},
		{URL: "http://"},
		{URL: "https://exa mple.com"},
		{URL: "https://example.com", Secret: "whsec_"},
		{URL: "https://example.com", Secret: "not base64, hunter2secret"},
	} {
		_, err := webhook.Open(config)
		require.ErrorIs(t, err, webhook.ErrConfig)
		require.NotContains(t, err.Error(), sinktest.Password)
	}
}
