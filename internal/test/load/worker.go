package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

var errWorkerEnded = errors.New("a worker has ended")

// worker is a running `daymill worker`, which logs to a file, with a line for every run.
type worker struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// startWorker starts a worker and returns when it works.
func (s *site) startWorker(ctx context.Context, number int) (*worker, error) {
	w := &worker{name: fmt.Sprintf("worker %d", number), done: make(chan struct{})}
	w.log = filepath.Join(s.dir, w.name+".log")
	file, err := os.Create(w.log)
	if err != nil {
		return nil, err
	}
	defer file.Close() // The process has its own handle.
	w.cmd = s.command(context.WithoutCancel(ctx), "worker")
	w.cmd.Stdout, w.cmd.Stderr = file, file
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = w.cmd.Wait() // Only that it has ended matters.
		close(w.done)
	}()
	for {
		text, err := os.ReadFile(w.log)
		if err != nil || bytes.Contains(text, []byte("worker started")) {
			return w, err
		}
		select {
		case <-w.done:
			return nil, fmt.Errorf("%w: %s", errWorkerEnded, text)
		default:
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			w.kill()
			return nil, err
		}
	}
}

// alive returns an error if the process has ended.
func (w *worker) alive() error {
	select {
	case <-w.done:
		return fmt.Errorf("%w: %s", errWorkerEnded, w.name)
	default:
		return nil
	}
}

// stop ends the worker as a platform does.
func (w *worker) stop(ctx context.Context) error {
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("stop %s: %w", w.name, err)
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", w.name, context.Cause(ctx))
	}
}

func (w *worker) kill() {
	_ = w.cmd.Process.Kill() // It may have ended already.
	<-w.done
}

// memory returns how many bytes the process has in memory: from /proc on Linux, and from ps elsewhere.
func (w *worker) memory(ctx context.Context) (int64, error) {
	pid := strconv.Itoa(w.cmd.Process.Pid)
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err == nil {
		for line := range strings.Lines(string(status)) {
			if rest, is := strings.CutPrefix(line, "VmRSS:"); is {
				return kilobytes(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			}
		}
	}
	output, err := exec.CommandContext(ctx, "ps", "-o", "rss=", "-p", pid).Output()
	if err != nil {
		return 0, fmt.Errorf("ask ps for the memory of %s: %w", w.name, err)
	}
	return kilobytes(string(output))
}

func kilobytes(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n * 1024, err
}

// complaints returns the number of warnings and errors in the worker's log, and the first few.
func (w *worker) complaints() (count int, first []string, err error) {
	file, err := os.Open(w.log)
	if err != nil {
		return 0, nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if line := lines.Text(); strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			if count++; count <= 3 {
				first = append(first, line)
			}
		}
	}
	return count, first, lines.Err()
}
