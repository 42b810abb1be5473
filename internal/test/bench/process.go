package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

var errWorkerEnded = errors.New("the worker has ended")

// process is a run of Daymill that has ended.
type process struct {
	took   time.Duration
	memory int64 // the most bytes it had in memory
}

// daymill runs the command to its end.
func (b *bench) daymill(ctx context.Context, url string, arguments ...string) (process, error) {
	var output bytes.Buffer
	cmd := b.command(ctx, url, arguments...)
	cmd.Stdout, cmd.Stderr = &output, &output
	began := now()
	err := cmd.Run()
	took := now().Sub(began)
	if err != nil {
		return process{}, fmt.Errorf("daymill %s: %w: %s", strings.Join(arguments, " "), err, output.String())
	}
	return process{took: took, memory: peakMemory(cmd.ProcessState)}, nil
}

func (b *bench) command(ctx context.Context, url string, arguments ...string) *exec.Cmd {
	program := b.binary
	if b.workerCPUs != "" {
		program, arguments = "taskset", append([]string{"--cpu-list", b.workerCPUs, b.binary}, arguments...)
	}
	cmd := exec.CommandContext(ctx, program, arguments...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "DAYMILL_") && !strings.HasPrefix(variable, "PG") &&
			!strings.HasPrefix(variable, "DATABASE_URL=") && !strings.HasPrefix(variable, "DYNO=") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(append(cmd.Env, b.env...), "DATABASE_URL="+url)
	return cmd
}

// worker is a running `daymill worker`.
type worker struct {
	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	log  bytes.Buffer
}

// Write stores the worker's log.
func (w *worker) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

// written returns what the worker has logged so far.
func (w *worker) written() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.log.Bytes())
}

// worker starts a worker and returns when it works. The caller stops or kills it.
func (b *bench) worker(ctx context.Context, url string, arguments ...string) (*worker, error) {
	w := &worker{cmd: b.command(ctx, url, append([]string{"worker"}, arguments...)...), done: make(chan struct{})}
	w.cmd.Stdout, w.cmd.Stderr = w, w
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = w.cmd.Wait() // How it ended does not matter.
		close(w.done)
	}()
	return w, await(ctx, time.Minute, 5*time.Millisecond, func() (bool, error) {
		select {
		case <-w.done:
			return false, fmt.Errorf("%w: %s", errWorkerEnded, w.written())
		default:
			return bytes.Contains(w.written(), []byte("worker started")), nil
		}
	})
}

// stop ends the worker as a platform does, and returns its peak memory in bytes.
func (w *worker) stop() int64 {
	if w.cmd.Process.Signal(os.Interrupt) != nil {
		return w.kill()
	}
	<-w.done
	return peakMemory(w.cmd.ProcessState)
}

// kill kills the worker.
func (w *worker) kill() int64 {
	_ = w.cmd.Process.Kill() // It may have ended already.
	<-w.done
	return peakMemory(w.cmd.ProcessState)
}

// await calls so at an interval until it returns true.
func await(ctx context.Context, atMost, every time.Duration, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	for {
		if done, err := so(); done || err != nil {
			return err
		}
		if err := sleep(ctx, every); err != nil {
			return fmt.Errorf("wait: %w", err)
		}
	}
}
