package postgres_test

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// The error names an unreachable server and the cause in one sentence, on one line, without the password.
func TestConnectError(t *testing.T) {
	t.Parallel()
	listen := func(t *testing.T) string {
		t.Helper()
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		return listener.Addr().String()
	}
	says := func(t *testing.T, url, cause string) {
		t.Helper()
		_, err := postgres.Open(t.Context(), postgres.Config{URL: url})
		require.ErrorIs(t, err, postgres.ErrConnect)
		require.ErrorContains(t, err, cause)
		require.NotContains(t, err.Error(), "\n")
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "failed to connect")
		_, err = postgres.Replicate(t.Context(), url, "a test")
		require.ErrorContains(t, err, cause)
		require.NotContains(t, err.Error(), "\n")
	}
	t.Run("NoAnswer", func(t *testing.T) {
		t.Parallel()
		says(t, "postgres://u:hunter2@"+listen(t)+"/x?connect_timeout=1", "no answer within 1s")
	})
	t.Run("NoHost", func(t *testing.T) {
		t.Parallel()
		says(t, "postgres://u:hunter2@nowhere.invalid/x", `there is no host "nowhere.invalid"`)
	})
	t.Run("NoServer", func(t *testing.T) {
		t.Parallel()
		says(t, "postgres://u:hunter2@127.0.0.1:1/x", "connection refused")
	})
	t.Run("NoTLS", func(t *testing.T) {
		t.Parallel()
		says(t, strings.Replace(pgtest.Database(t, pgtest.Installed{}).URL, "sslmode=disable", "sslmode=require", 1), "the server has no TLS: switch ssl on there, or write sslmode=disable in the URL")
	})
	t.Run("NotPostgres", func(t *testing.T) {
		t.Parallel()
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
				_ = conn.Close()
			}
		}()
		says(t, "postgres://u:hunter2@"+listener.Addr().String()+"/x?sslmode=disable", "is not Postgres")
	})
}

// The URL decides how long a connection may take.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	for url, seconds := range map[string]float64{
		"postgres://u@h/x": 5, "postgres://u@h/x?connect_timeout=2": 2, "postgres://u@h/x?connect_timeout=12": 12, "postgres://u@h/x?connect_timeout=90": 90,
	} {
		config, err := postgres.ParseURL(url)
		require.NoError(t, err)
		require.InDelta(t, seconds, config.ConnectTimeout.Seconds(), 0, url)
	}
}
