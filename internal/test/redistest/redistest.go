// Package redistest starts a redis-server for a test.
package redistest

import (
	"context"
	"os/exec"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/servertest"
)

// Server is a Redis that keeps its data and its port when it restarts.
type Server struct {
	*servertest.Server

	URL    string
	Client *redis.Client
}

// Start starts a Redis, which ends with the test.
func Start(t *testing.T, password string) *Server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	require.NoError(t, err, "make setup installs it")
	dir := t.TempDir()
	client := func(port int) *redis.Client {
		return redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(port), Password: password})
	}
	s := &Server{Server: servertest.Start(t, servertest.Config{
		Command: func(ctx context.Context, port int) *exec.Cmd {
			return exec.CommandContext(ctx, path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
				"--appendonly", "yes", "--appendfsync", "always", "--requirepass", password, "--logfile", dir+"/log", "--save", "")
		},
		Ready: func(ctx context.Context, port int) error {
			one := client(port)
			defer one.Close()
			return one.Ping(ctx).Err()
		},
	})}
	s.Client = client(s.Port)
	t.Cleanup(func() { _ = s.Client.Close() })
	s.URL = "redis://:" + password + "@127.0.0.1:" + strconv.Itoa(s.Port) + "/0"
	return s
}
