package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSlowClients: slow clients are disconnected, and others are served in the meantime. Only the lengths of the limits differ from the server's
// own.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	within := serverLimits()
	require.Positive(t, within.read)
	require.Positive(t, within.write)
	require.Positive(t, within.idle)
	within.read, within.write, within.idle, within.stop = 300*time.Millisecond, 600*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond

	var served, brokeOff atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			piece := make([]byte, 1<<20)
			for range 256 {
				if _, err := w.Write(piece); err != nil {
					brokeOff.Add(1)
					return
				}
			}
		default:
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				brokeOff.Add(1)
				return
			}
			served.Add(1)
		}
	})
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, handler, within) }()
	dial := func() net.Conn {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	// cut waits until the server has closed a connection.
	cut := func(conn net.Conn) {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(waitFor)))
		_, err := io.Copy(io.Discard, conn)
		var timeout net.Error
		require.False(t, err != nil && errors.As(err, &timeout) && timeout.Timeout(), "it is still open")
	}

	// A hundred clients send headers without an end, and a few send slowly.
	var slow []net.Conn
	for range 100 {
		conn := dial()
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop.example\r\nX: ")
		require.NoError(t, err)
		slow = append(slow, conn)
	}
	trickle, beat := dial(), time.NewTicker(10*time.Millisecond)
	t.Cleanup(beat.Stop)
	go func() {
		for i := 0; ; i++ {
			if _, err := io.WriteString(trickle, "GET / HTTP/1.1\r\nX: "[i%10:i%10+1]); err != nil {
				return
			}
			<-beat.C
		}
	}()
	body := dial()
	_, err = io.WriteString(body, "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000\r\n\r\nx")
	require.NoError(t, err)
	chunks := dial()
	_, err = io.WriteString(chunks, "POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
	require.NoError(t, err)
	silent := dial()
	deaf := dial() // reads nothing of the answer
	_, err = io.WriteString(deaf, "GET /large HTTP/1.1\r\nHost: shop.example\r\n\r\n")
	require.NoError(t, err)

	// Others get an answer in the meantime.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String()+"/", nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.EqualValues(t, 1, served.Load())

	for _, conn := range append(slow, trickle, body, chunks, silent) {
		cut(conn)
	}
	require.Eventually(t, func() bool { return brokeOff.Load() == 3 }, waitFor, tick, "two bodies and one answer")
	require.EqualValues(t, 1, served.Load())

	// Too many bytes of headers, in one header and in many.
	for _, headers := range []string{"X: " + strings.Repeat("x", 100<<10) + "\r\n", strings.Repeat("X: x\r\n", 20_000)} {
		conn := dial()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop.example\r\n"+headers+"\r\n") // It may be disconnected before.
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, answer.StatusCode)
			require.NoError(t, answer.Body.Close())
		}
	}
	require.EqualValues(t, 1, served.Load())

	// No client prevents the process from stopping.
	endless := dial()
	_, err = io.WriteString(endless, "GET /large HTTP/1.1\r\nHost: shop.example\r\n\r\n")
	require.NoError(t, err)
	cancel()
	require.NoError(t, <-ended)
}
