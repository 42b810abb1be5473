package run_test

import (
	"bytes"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// through returns a database's URL through another address.
func through(t *testing.T, db *pgtest.DB, address string) string {
	t.Helper()
	u, err := url.Parse(db.URL)
	require.NoError(t, err)
	u.Host = address
	return u.String()
}

func host(db *pgtest.DB) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(db.Server.Port)) }

// delayed returns a database's URL through a network with a round trip of some milliseconds.
func delayed(t *testing.T, db *pgtest.DB, milliseconds int) string {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, db.Name, "127.0.0.1:0", host(db))
	require.NoError(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	_, err := proxy.Toxics.AddToxicJson(strings.NewReader(
		`{"type": "latency", "stream": "downstream", "attributes": {"latency": ` + strconv.Itoa(milliseconds) + `}}`))
	require.NoError(t, err)
	return through(t, db, proxy.Listen)
}

// cutter is a proxy that cuts connections at a COMMIT.
type cutter struct {
	commits, cuts atomic.Int64
	// choose decides for each COMMIT whether to cut the connection, and whether the server still receives it.
	choose func(commit int64) (cut, passOn bool)
	// holds makes it hold back the answers instead, until the client closes the connection.
	holds bool
}

func (c *cutter) start(t *testing.T, db *pgtest.DB) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go c.relay(t, client, host(db))
		}
	}()
	return through(t, db, listener.Addr().String())
}

func (c *cutter) relay(t *testing.T, client net.Conn, to string) {
	t.Helper()
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
	if err != nil {
		return
	}
	var held atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1<<16)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				_ = client.Close()
				return
			}
			if !held.Load() {
				_, _ = client.Write(buffer[:n])
			}
		}
	}()
	buffer := make([]byte, 1<<16)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			break
		}
		cut, passOn := false, true
		if bytes.Contains(bytes.ToUpper(buffer[:n]), []byte("COMMIT\x00")) {
			cut, passOn = c.choose(c.commits.Add(1))
		}
		if cut || !c.holds {
			held.Store(cut)
		}
		if passOn {
			_, _ = server.Write(buffer[:n])
		}
		if cut {
			c.cuts.Add(1)
			if !c.holds {
				break
			}
		}
	}
	if tcp, ok := server.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // The server has done what was forwarded.
		<-done
	}
	_ = server.Close()
}

// open opens a database for a run through another URL.
func open(t *testing.T, config postgres.Config) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}
