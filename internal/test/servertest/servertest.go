// Package servertest runs a server that is a program of its own, for a test.
package servertest

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
)

// Config says how a server is started.
type Config struct {
	// Command returns the program with its arguments. It must listen on the port.
	Command func(ctx context.Context, port int) *exec.Cmd
	// Ready returns nil once the server on the port answers.
	Ready func(ctx context.Context, port int) error
}

// Server is a process that keeps its port when it restarts.
type Server struct {
	Port int

	config Config
	cmd    *exec.Cmd
}

// Start starts a server on a free port. It ends with the test.
func Start(t *testing.T, config Config) *Server {
	t.Helper()
	for range 5 { // Another process may take the port in the meantime.
		port, err := pgserver.FreePort()
		require.NoError(t, err)
		s := &Server{Port: port, config: config}
		if s.start(t) {
			t.Cleanup(s.kill)
			return s
		}
	}
	require.Fail(t, "the server does not start")
	return nil
}

// start reports whether the server answers. It returns false when the process has ended.
func (s *Server) start(t *testing.T) bool {
	t.Helper()
	s.cmd = s.config.Command(context.WithoutCancel(t.Context()), s.Port)
	require.NoError(t, s.cmd.Start())
	ended := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(ended) }()
	for {
		if s.config.Ready(t.Context(), s.Port) == nil {
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
	require.True(t, s.start(t), "the server does not start again")
}
