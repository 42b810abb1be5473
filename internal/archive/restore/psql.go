package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/postgres"
)

// lock is the key of an advisory lock that every psql of a restore holds. If a psql is killed, its session still runs what it was sent.
const lock = "5074951364"

// psql is a process that runs the SQL that is written to it, and stops at the first error.
type psql struct {
	io.WriteCloser

	cmd    *exec.Cmd
	stderr bytes.Buffer
}

func start(ctx context.Context, config *Config) (p *psql, err error) {
	address, environment, err := postgres.ForProgram(config.Into)
	if err != nil {
		return nil, err
	}
	p = &psql{cmd: exec.CommandContext(ctx, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output="+os.DevNull, "--dbname="+address)}
	if config.Quiet {
		p.cmd.Args = append(p.cmd.Args, "--set=VERBOSITY=sqlstate")
	}
	p.cmd.Env = append(os.Environ(), environment...)
	p.cmd.Stderr = &p.stderr
	if p.WriteCloser, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("psql is not on this machine: install Postgres's client programs")
	}
	if err != nil {
		return nil, fmt.Errorf("start psql: %w", err)
	}
	_, _ = io.WriteString(p, base.Prelude+"SELECT pg_advisory_lock_shared("+lock+");\n") // If it fails, the next write fails, too.
	return p, nil
}

// run writes SQL to a psql, and returns when psql has run everything. An error of psql comes before an error of writing to it.
func run(ctx context.Context, config *Config, write func(to io.Writer) error) error {
	p, err := start(ctx, config)
	if err != nil {
		return err
	}
	failed := write(p)
	if failed != nil {
		// The text ends in the middle of a transaction or a line, which must not run.
		_ = p.cmd.Process.Kill()
	}
	_ = p.Close() // It fails if psql has already ended.
	if err := p.cmd.Wait(); err != nil && p.stderr.Len() > 0 {
		return fmt.Errorf("psql stopped: %s", strings.TrimSpace(p.stderr.String()))
	} else if failed == nil && err != nil {
		return fmt.Errorf("psql stopped: %w", errors.Join(context.Cause(ctx), err))
	}
	return failed
}
