package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// process is a child process. A goroutine waits for its end.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// launch starts a command whose output goes to the end of a file.
func launch(logFile string, cmd *exec.Cmd) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open its log: %w", err)
	}
	defer log.Close() // The child has its own.
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // Its log says how it ended.
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// end sends a signal and waits for the end. If the process has not ended when ctx is done, end leaves it running.
func (p *process) end(ctx context.Context, signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("process %d is still there: %w", p.pid(), ctx.Err())
	}
}

// kill ends the process with SIGKILL.
func (p *process) kill(ctx context.Context) error {
	return p.end(context.WithoutCancel(ctx), syscall.SIGKILL)
}

// watchdog is a shell that waits for the end of this process: it reads from a pipe that only this process could write to, so the read
// ends when this process does.
type watchdog struct {
	cmd  *exec.Cmd
	pipe *os.File
}

// watchScript stops the server whose process is in the file $1, if it runs, and then removes $2, if given.
const watchScript = `
read -r _
pid=$(head -n 1 "$1" 2>/dev/null) && kill -INT "$pid" 2>/dev/null
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
[ -z "$2" ] || rm -rf "$2"
`

// watch starts a watchdog for the server whose process id is in a file.
func watch(ctx context.Context, dir, pidFile string, remove bool) (*watchdog, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("watch over the server: %w", err)
	}
	defer reader.Close() // The child has its own.
	removed := ""
	if remove {
		removed = dir
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", watchScript, "daymill-watchdog", pidFile, removed)
	cmd.Stdin = reader
	cmd.Dir = "/"
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("watch over the server: %w", err), writer.Close())
	}
	return &watchdog{cmd: cmd, pipe: writer}, nil
}

// end ends the watchdog without stopping the server.
func (w *watchdog) end() {
	if w == nil {
		return
	}
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
	_ = w.pipe.Close()
}
