package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
)

// cluster is the process's own cluster, which the first test that needs it starts.
type cluster struct {
	once      sync.Once
	server    *pgserver.Server
	err       error
	templates templates
}

// shared is a global, because it lives as long as the test process.
//
//nolint:gochecknoglobals // See above.
var shared = &cluster{}

// Main runs a package's tests. Then it removes their cluster and calls the functions of after. Its exit code is that of the tests.
func Main(m *testing.M, after ...func()) {
	code := m.Run()
	for _, do := range after {
		do()
	}
	if shared.server != nil {
		if err := shared.server.Close(); err != nil {
			_, _ = io.WriteString(os.Stderr, "pgtest: "+err.Error()+"\n")
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func (c *cluster) start() (*pgserver.Server, error) {
	c.once.Do(func() {
		// Not the test's context: the cluster stays when the first test has ended.
		c.server, c.err = startServer(context.Background(), nil)
		c.templates.server = c.server
	})
	return c.server, c.err
}

// settings of every cluster. Autovacuum is off because it would sometimes prevent copies of templates, and make plans differ between two runs of
// a test. A test that needs statistics runs ANALYZE.
func settings() map[string]string {
	all := pgserver.Throwaway()
	maps.Copy(all, map[string]string{
		"autovacuum":      "off",
		"log_statement":   "none",
		"max_connections": "300",
		"shared_buffers":  "128MB",
		"timezone":        "Asia/Kathmandu",
	})
	return all
}

func startServer(ctx context.Context, override map[string]string) (*pgserver.Server, error) {
	binaries, err := pgserver.Find(ctx)
	if err != nil {
		return nil, fmt.Errorf("find Postgres for the tests: %w", err)
	}
	all := settings()
	maps.Copy(all, override)
	server, err := pgserver.Start(ctx, pgserver.Config{Binaries: binaries, Settings: all, InMemory: true})
	if err != nil {
		return nil, fmt.Errorf("start Postgres for the tests: %w", err)
	}
	return server, nil
}

// Server starts a cluster for one test, which may stop, crash or reconfigure it, or make it a follower. The settings are added to those of
// every cluster, or replace them. [On] installs Daymill in it.
func Server(tb testing.TB, override map[string]string) *pgserver.Server {
	tb.Helper()
	server, err := startServer(tb.Context(), override)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		err := server.Close()
		if errors.Is(err, context.DeadlineExceeded) {
			tb.Logf("the server's log is %s", server.LogFile())
		}
		require.NoError(tb, err)
	})
	return server
}

// Replace stops a cluster, replaces a directory by a copy of another, and starts the cluster again. With its data directory as from, it makes a
// backup of the disk; with that as to, it restores one. The caller resets its connections, which are closed.
func Replace(tb testing.TB, server *pgserver.Server, from, to string) {
	tb.Helper()
	require.NoError(tb, server.Stop(tb.Context(), pgserver.Fast))
	require.NoError(tb, os.RemoveAll(to))
	output, err := exec.CommandContext(tb.Context(), "cp", "-a", from, to).CombinedOutput()
	require.NoError(tb, err, string(output))
	require.NoError(tb, server.Start(tb.Context()))
}
