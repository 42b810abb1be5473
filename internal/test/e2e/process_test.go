package e2e_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/pgtest"
)

// build builds the command.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daymill")
	output, err := exec.CommandContext(t.Context(),
		"go", "build", "-C", pgtest.Root(t), "-buildvcs=false", "-o", path, "./cmd/daymill").CombinedOutput()
	require.NoError(t, err, string(output))
	return path
}

// environment returns this process's environment without variables that configure the command.
func environment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "DAYMILL_") && !strings.HasPrefix(variable, "PG") &&
			!strings.HasPrefix(variable, "DATABASE_URL=") && !strings.HasPrefix(variable, "DYNO=") {
			env = append(env, variable)
		}
	}
	return env
}

// log has the output of a running process.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// run runs the command to its end, and returns what it has written and its exit code.
func (b *testBundle) run(t *testing.T, arguments ...string) (output string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.binary, arguments...)
	cmd.Env = environment()
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// process is a running `daymill worker`.
type process struct {
	cmd  *exec.Cmd
	log  log
	done chan struct{}
}

// worker starts a worker on the test's database, which runs one date at a time and does not pause, unless the arguments say otherwise. It is
// killed at the end of the test.
func (b *testBundle) worker(t *testing.T, arguments ...string) *process {
	t.Helper()
	p := &process{done: make(chan struct{})}
	defaults := []string{"worker", "--database-url", b.db.URL, "--workers", "1", "--pace", "0"}
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), b.binary, append(defaults, arguments...)...)
	p.cmd.Env, p.cmd.SysProcAttr = append(environment(), b.env...), attributes()
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // How it ended is in its state.
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill(t)
		if t.Failed() {
			t.Logf("process %d wrote:\n%s", p.cmd.Process.Pid, p.log.String())
		}
	})
	return p
}

func (p *process) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(signal))
}

// stop stops the process, and returns when all of its threads have stopped: after SIGSTOP was sent to a process, threads of it run on until
// one of them has had time to handle the signal.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGSTOP)
	var status syscall.WaitStatus
	_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped())
}

// kill kills the process, and returns when it has ended.
func (p *process) kill(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Kill() // It may have ended already.
	<-p.done
}

// wait waits until a process ends, and returns its exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		require.Fail(t, "the process does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// running reports whether the process is alive.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}
