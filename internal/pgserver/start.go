package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// startTimeout bounds a start or a stop. Recovery after a crash takes a while on a busy machine.
	startTimeout = time.Minute
	startTries   = 20
	pollInterval = 5 * time.Millisecond
)

// errPortTaken says that another process listens on the server's port.
var errPortTaken = errors.New("the port is taken")

// Start resumes a stopped server in the same directory and on the same port, and returns when it accepts connections.
func (s *Server) Start(ctx context.Context) error {
	if s.Running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.startHere(ctx)
		if !errors.Is(err, errPortTaken) || wait(ctx, pollInterval) != nil {
			return err
		}
	}
}

// startSomewhere starts the server on a free port. If another process takes the port first, it tries another one.
func (s *Server) startSomewhere(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var err error
	for range startTries {
		if s.Port, err = FreePort(); err != nil {
			return err
		}
		if err = s.startHere(ctx); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

func (s *Server) startHere(ctx context.Context) error {
	socketDir, addresses := s.dir, "127.0.0.1"
	const longestPath = 100 // The system's limit is 103 to 107 bytes.
	tooLong := len(filepath.Join(socketDir, ".s.PGSQL.65535")) > longestPath
	switch {
	case tooLong && s.private:
		return fmt.Errorf("start Postgres: the path %s is too long for a socket: set TMPDIR to a shorter one, such as /tmp", socketDir)
	case tooLong:
		socketDir = ""
	case s.private:
		addresses = ""
	}
	from, err := fileSize(s.LogFile())
	if err != nil {
		return err
	}
	s.process, err = launch(s.LogFile(), s.command(context.WithoutCancel(ctx), "postgres",
		"-D", s.data(), "-p", strconv.Itoa(s.Port),
		"-c", "listen_addresses="+addresses, "-c", "unix_socket_directories="+socketDir))
	if err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	for !s.ready() {
		if !s.process.alive() {
			return s.startError(from)
		}
		if err := wait(ctx, pollInterval); err != nil {
			return errors.Join(fmt.Errorf("start Postgres: it is not ready: %w: %s", err, s.logTail(from)), s.process.kill(ctx))
		}
	}
	return nil
}

// ready reads postmaster.pid, which has the process id in the first line and the state in the eighth.
func (s *Server) ready() bool {
	const stateLine = 8
	content, err := os.ReadFile(filepath.Join(s.data(), pidFile))
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) < stateLine || lines[0] != strconv.Itoa(s.process.pid()) {
		return false
	}
	return strings.TrimSpace(lines[stateLine-1]) == "ready"
}

// startError returns why the server ended instead of starting.
func (s *Server) startError(from int64) error {
	log := s.readLog(from)
	if bytes.Contains(log, []byte("could not bind")) || bytes.Contains(log, []byte("could not create any TCP/IP sockets")) {
		return fmt.Errorf("start Postgres on port %d: %w", s.Port, errPortTaken)
	}
	return fmt.Errorf("start Postgres: it ended at once: %s", s.logTail(from))
}

func (s *Server) readLog(from int64) []byte {
	log, err := os.ReadFile(s.LogFile())
	if err != nil {
		return []byte(err.Error())
	}
	return log[min(from, int64(len(log))):]
}

func (s *Server) logTail(from int64) string {
	const lines = 6
	return lastLines(s.readLog(from), lines)
}

// run runs one of the server's programs as the server's user, and waits for its end.
func (s *Server) run(ctx context.Context, name string, arguments ...string) error {
	output, err := s.command(ctx, name, arguments...).CombinedOutput()
	if err != nil {
		const lines = 6
		return fmt.Errorf("%s: %w: %s", name, err, lastLines(output, lines))
	}
	return nil
}

func (s *Server) command(ctx context.Context, name string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.Binaries.program(name), arguments...)
	cmd.Dir = s.dir
	cmd.Env = environment()
	cmd.SysProcAttr = attributes()
	return cmd
}

// environment returns this process's environment without variables that change where Postgres's programs connect, and with English
// messages.
func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "PG") && !strings.HasPrefix(variable, "LC_") && !strings.HasPrefix(variable, "LANG") {
			env = append(env, variable)
		}
	}
	return env
}

// FreePort returns a port of the loopback address on which nobody listens. The port is below the range that Linux and other systems use for
// outgoing connections, so that none of these takes it while its server is stopped.
func FreePort() (int, error) {
	const first, count, tries = 15_000, 15_000, 100
	for try := 1; ; try++ {
		port := first + rand.IntN(count)
		listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			return port, listener.Close()
		}
		if try == tries {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
	}
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("look at the log: %w", err)
	default:
		return info.Size(), nil
	}
}

// wait waits for moment, and returns an error if ctx is done before that.
func wait(ctx context.Context, moment time.Duration) error {
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// lastLines returns the last lines of a program's output as one line.
func lastLines(output []byte, count int) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "; ")
}
