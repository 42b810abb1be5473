package chaos_test

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// slot is a place for a worker process. It starts the process again whenever it has ended, as platforms do.
type slot struct {
	binary    string
	arguments []string
	// environment is the environment of a process that uses the machine's clock; nil for the harness's own workers.
	environment []string

	mu     sync.Mutex
	cmd    *exec.Cmd // nil if none is alive
	orders io.Writer // its standard input
	wrong  time.Duration
	down   time.Time // do not start it earlier
	starts int
	log    tail
}

// restartAfter is how long a platform takes to start a process again.
const restartAfter = 100 * time.Millisecond

// supervise keeps a process alive until ctx is done, and then ends it. It returns what went wrong.
func (s *slot) supervise(ctx context.Context) string {
	for {
		s.mu.Lock()
		wait := time.Until(s.down)
		s.mu.Unlock()
		if wait > 0 {
			if !sleep(ctx, wait) {
				return ""
			}
			continue
		}
		done, err := s.start(ctx)
		if err != nil {
			return "start a worker: " + err.Error()
		}
		select {
		case <-done:
			if !sleep(ctx, restartAfter) {
				return ""
			}
		case <-ctx.Done():
			return s.end(done)
		}
	}
}

// start starts a process, and returns a channel that is closed when it ends.
func (s *slot) start(ctx context.Context) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	arguments := s.arguments
	if s.environment == nil {
		arguments = append([]string{"-wrong", s.wrong.String()}, arguments...)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.binary, arguments...)
	cmd.Env = s.environment
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &s.log, &s.log, attributes()
	var err error
	if s.orders, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.cmd = cmd
	s.starts++
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // How it ended is in its log.
		s.mu.Lock()
		s.cmd = nil
		s.mu.Unlock()
		close(done)
	}()
	return done, nil
}

// end stops a process as a deploy does. The process has to end on SIGTERM.
func (s *slot) end(done <-chan struct{}) string {
	s.signal(syscall.SIGCONT)
	s.signal(syscall.SIGTERM)
	select {
	case <-done:
		return ""
	case <-time.After(time.Minute):
		s.signal(syscall.SIGKILL)
		<-done
		return "a worker did not end within a minute of SIGTERM"
	}
}

// signal sends a signal to the process, if one is alive.
func (s *slot) signal(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(signal) // It may just have ended.
	}
}

// rest keeps the next process from being started for a while.
func (s *slot) rest(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = time.Now().Add(d)
}

// correct sets the error of the clock of the machine of later processes. It ends the current process, so that the next one runs on that
// machine.
func (s *slot) correct(wrong time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = wrong
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // It may just have ended.
	}
}

// tail keeps the end of the text that is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 1 << 19
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > 2*most {
		t.text = append([]byte(nil), t.text[len(t.text)-most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ToValidUTF8(t.text, []byte("?")))
}
