package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/pgserver"
)

// site is the cluster with Daymill, and the workers.
type site struct {
	options

	dir     string
	server  *pgserver.Server
	looking *pgx.Conn
	workers []*exec.Cmd
}

// lookerName is the application name of the connection that measures.
const lookerName = "crowd looker"

func (s *site) open(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "daymill-crowd-"); err != nil {
		return err
	}
	if s.binary == "" {
		s.binary = filepath.Join(s.dir, "daymill")
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", s.binary, "github.com/daymill/daymill/cmd/daymill")
		if output, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build Daymill: %w: %s", err, output)
		}
	}
	binaries, err := pgserver.Find(ctx)
	if err != nil {
		return err
	}
	s.server, err = pgserver.Start(ctx, pgserver.Config{Binaries: binaries, Settings: map[string]string{
		"max_connections": "400", "shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.max": "5000", "autovacuum": "off",
	}})
	if err != nil {
		return err
	}
	config, err := pgx.ParseConfig(s.server.URL("postgres"))
	if err != nil {
		return err
	}
	config.RuntimeParams["application_name"] = lookerName
	if s.looking, err = pgx.ConnectConfig(ctx, config); err != nil {
		return err
	}
	return s.install(ctx)
}

// fillSQL inserts the events of the dates: $1 is how many dates, $2 the events of each. A few entities have many and most have few.
const fillSQL = `
INSERT INTO public.raw_events (entity_id, event_type, created_at)
SELECT
	floor(power(random(), 3) * $2::integer / 3)::bigint,
	(ARRAY['view', 'view', 'view', 'view', 'click', 'save', 'skip', 'share'])[1 + floor(random() * 8)::integer],
	timestamptz '2026-01-01 00:00Z' + (i - 1) * interval '1 day' + random() * interval '23 hours'
FROM generate_series(1, $1::integer) AS i, generate_series(1, $2::integer)
ORDER BY 3`

// install creates the database. The schedule is paused, so that the workers only do requested work.
func (s *site) install(ctx context.Context) error {
	for _, arguments := range [][]string{{"migrate", "--entity-type", "bigint", "--timezone", "UTC"}, {"source", "create"}} {
		if output, err := s.command(ctx, arguments...).CombinedOutput(); err != nil {
			return fmt.Errorf("daymill %s: %w: %s", arguments[0], err, output)
		}
	}
	for _, sql := range []string{
		"CREATE EXTENSION pg_stat_statements",
		`INSERT INTO daymill.schedules (name, last_due_at, paused_at)
		VALUES ('daily_rollup', 'infinity', now()), ('prune_ledger', 'infinity', now()), ('verify_dates', 'infinity', now())`,
	} {
		if _, err := s.looking.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if _, err := s.looking.Exec(ctx, fillSQL, s.dates, s.events); err != nil {
		return fmt.Errorf("insert random events: %w", err)
	}
	_, err := s.looking.Exec(ctx, "VACUUM ANALYZE public.raw_events")
	return err
}

// command returns a command of Daymill, without the variables of this process's environment that configure it.
func (s *site) command(ctx context.Context, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.binary, arguments...)
	cmd.Env = []string{"DATABASE_URL=" + s.server.URL("postgres")}
	for _, variable := range os.Environ() {
		foreign := false
		for _, prefix := range []string{"DAYMILL_", "PG", "DATABASE_URL=", "DYNO=", "OTEL_"} {
			foreign = foreign || strings.HasPrefix(variable, prefix)
		}
		if !foreign {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	return cmd
}

// start starts workers, and returns when all of them work.
func (s *site) start(ctx context.Context, number int) error {
	arguments := []string{"worker"}
	if s.pace != "" {
		arguments = append(arguments, "--pace", s.pace)
	}
	for range number {
		cmd := s.command(context.WithoutCancel(ctx), arguments...)
		if err := cmd.Start(); err != nil {
			return err
		}
		s.workers = append(s.workers, cmd)
	}
	return s.await(ctx, "SELECT count(*) = $1 FROM daymill.workers WHERE last_seen_at > now() - interval '1 minute'", number)
}

// stop ends the workers as a platform does, and returns how much processor time they took.
func (s *site) stop() (took time.Duration, err error) {
	for _, cmd := range s.workers {
		err = errors.Join(err, cmd.Process.Signal(os.Interrupt))
	}
	for _, cmd := range s.workers {
		_ = cmd.Wait() // Only that it has ended matters.
		took += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	s.workers = nil
	return took, err
}

var errLate = errors.New("the workers did not do it within ten minutes")

// await returns once a condition holds.
func (s *site) await(ctx context.Context, condition string, arguments ...any) error {
	for began := now(); now().Sub(began) < 10*time.Minute; {
		var holds bool
		if err := s.looking.QueryRow(ctx, condition, arguments...).Scan(&holds); err != nil || holds {
			return err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return errLate
}

func (s *site) close() error {
	for _, cmd := range s.workers {
		_ = cmd.Process.Kill() // It may have ended already.
		_ = cmd.Wait()
	}
	var err error
	if s.looking != nil {
		err = s.looking.Close(context.Background())
	}
	if s.server != nil {
		err = errors.Join(err, s.server.Close())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// processors returns how much processor time the server's processes took that have ended, from /proc; 0 where there is none.
func (s *site) processors(ctx context.Context) (time.Duration, error) {
	var pid int
	err := s.looking.QueryRow(ctx, "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::integer").Scan(&pid)
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, nil //nolint:nilerr // Not Linux.
	}
	_, rest, _ := bytes.Cut(text, []byte(") "))
	fields := strings.Fields(string(rest))
	ticks := 0
	for _, field := range fields[13:15] { // cutime and cstime
		var n int
		if _, err := fmt.Sscan(field, &n); err != nil {
			return 0, fmt.Errorf("read the server's processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
