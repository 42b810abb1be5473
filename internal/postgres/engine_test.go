package postgres_test

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// announce returns the URL of a real server that announces one more parameter when a connection starts, as another engine would.
func announce(t *testing.T, url, name, value string) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	start := strings.Index(url, "@") + 1
	server := url[start : start+strings.Index(url[start:], "/")]
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go relay(client, server, name, value)
		}
	}()
	return strings.Replace(url, server, listener.Addr().String(), 1)
}

// relay passes messages on, with one more ParameterStatus before ReadyForQuery.
func relay(client net.Conn, server, name, value string) {
	defer client.Close()
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer upstream.Close()
	go func() { _, _ = io.Copy(upstream, client) }()
	for announced := false; ; {
		header := make([]byte, 5)
		if _, err := io.ReadFull(upstream, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(upstream, body); err != nil {
			return
		}
		if header[0] == 'Z' && !announced {
			announced = true
			status := name + "\x00" + value + "\x00"
			message := binary.BigEndian.AppendUint32([]byte{'S'}, uint32(len(status)+4))
			if _, err := client.Write(append(message, status...)); err != nil {
				return
			}
		}
		if _, err := client.Write(slices.Concat(header, body)); err != nil {
			return
		}
	}
}

func TestEngine(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	for name, c := range map[string]struct{ parameter, value, says string }{
		"CockroachDB": {"crdb_version", "CockroachDB CCL v25.1.0", "the server is CockroachDB, which lacks transition tables or LISTEN"},
		"YugabyteDB":  {"server_version", "15.12-YB-2025.2.3.0-b1", "the server is YugabyteDB 15.12-YB-2025.2.3.0-b1, which lacks transition tables or LISTEN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := postgres.Open(t.Context(), postgres.Config{URL: announce(t, db.URL, c.parameter, c.value)})
			require.ErrorIs(t, err, postgres.ErrEngine)
			require.ErrorContains(t, err, c.says)
		})
	}
	// A pooler may announce nothing of what the server is.
	for name, version := range map[string]string{
		"CockroachDB": "CockroachDB CCL v25.1.0 (x86_64-pc-linux-gnu, built 2025/02/18 12:00:00, go1.22.8)",
		"YugabyteDB":  "PostgreSQL 15.12-YB-2025.2.3.0-b1 on x86_64-pc-linux-gnu, compiled by clang version 17.0.6, 64-bit",
	} {
		t.Run(name+"Pooled", func(t *testing.T) {
			t.Parallel()
			db := pgtest.Empty(t)
			db.Do(t, "CREATE OR REPLACE FUNCTION pg_catalog.version() RETURNS text LANGUAGE sql STABLE AS $$ SELECT '"+version+"' $$")
			_, err := postgres.Open(t.Context(), postgres.Config{URL: announce(t, db.URL, "server_encoding", "")})
			require.ErrorIs(t, err, postgres.ErrEngine)
			require.ErrorContains(t, err, "the server is "+name)
			opened, err := postgres.Open(t.Context(), postgres.Config{URL: db.URL})
			require.NoError(t, err)
			opened.Close()
		})
	}
	t.Run("PostgresPooled", func(t *testing.T) {
		t.Parallel()
		opened, err := postgres.Open(t.Context(), postgres.Config{URL: announce(t, db.URL, "server_encoding", "")})
		require.NoError(t, err)
		opened.Close()
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		opened, err := postgres.Open(t.Context(), postgres.Config{URL: announce(t, db.URL, "application_name", "15.12")})
		require.NoError(t, err)
		opened.Close()
	})
}
