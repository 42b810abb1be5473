// Package redistest starts a redis-server for a test.
package redistest

import (
	"context"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// Server is a Redis that keeps its data and its port when it restarts.
type Server struct {
	URL    string
	Client *redis.Client

	path, dir, password string
	port                int
	cmd                 *exec.Cmd
}

// Start starts a Redis, which ends with the test.
func Start(t *testing.T, password string) *Server {
	t.Helper()
	s := &Server{path: find(t), dir: t.TempDir(), password: password}
	for range 5 { // Another process may take the port in the meantime.
		s.port = freePort(t)
		s.URL = "redis://:" + password + "@127.0.0.1:" + strconv.Itoa(s.port) + "/0"
		options, err := redis.ParseURL(s.URL)
		require.NoError(t, err)
		s.Client = redis.NewClient(options)
		if s.start(t) {
			t.Cleanup(func() { _ = s.Client.Close(); s.kill() })
			return s
		}
	}
	require.Fail(t, "redis-server does not start")
	return nil
}

func find(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	require.NoError(t, err, "make setup installs it")
	return path
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// start reports whether the server answers.
func (s *Server) start(t *testing.T) bool {
	t.Helper()
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), s.path, "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--appendonly", "yes", "--appendfsync", "always", "--requirepass", s.password, "--logfile", s.dir+"/log", "--save", "")
	require.NoError(t, s.cmd.Start())
	ended := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(ended) }()
	for {
		if s.Client.Ping(t.Context()).Err() == nil {
			return true
		}
		select {
		case <-ended:
			return false
		case <-t.Context().Done():
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Stop kills the server.
func (s *Server) Stop(*testing.T) { s.kill() }

func (s *Server) kill() {
	_ = s.cmd.Process.Kill()
	_, _ = s.cmd.Process.Wait()
}

// Start starts it again, with the data that it had.
func (s *Server) Start(t *testing.T) {
	t.Helper()
	require.True(t, s.start(t))
}
