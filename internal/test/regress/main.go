// Command regress takes Postgres's own regression suite as the workload of an archive, because nobody here wrote it: it keeps an archive
// while pg_regress runs the suite, restores the archive into another cluster with psql alone, and compares the two databases. It needs
// Postgres's source, and what Debian has in postgresql-server-dev-15.
//
//	apt-get source postgresql-15
//	go run ./internal/test/regress -source postgresql-15-15.18/src/test/regress
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/pgserver"
)

func main() {
	s := suite{out: os.Stdout}
	flag.StringVar(&s.source, "source", "", "the directory src/test/regress of Postgres's source, of the server's major version")
	flag.StringVar(&s.schedule, "schedule", "parallel_schedule", "the schedule to run")
	flag.StringVar(&s.dir, "dir", "", "where to put the archive and what differs; a temporary directory if empty")
	flag.StringVar(&s.without, "without", "copy2,encoding,indexing,matview,select_into,subscription,vacuum", "tests to leave out: docs/archive.md says why")
	flag.IntVar(&s.most, "connections", 4, "how many tests run at the same time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := s.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "regress:", err)
		os.Exit(1)
	}
}

// suite is one run.
type suite struct {
	source, schedule, dir string
	without               string
	most                  int
	out                   io.Writer

	binaries         pgserver.Binaries
	server, restored *pgserver.Server
	daymill          string
}

const database = "regression"

func (s *suite) run(ctx context.Context) (err error) {
	if s.source == "" {
		return errors.New("-source must name the directory src/test/regress of Postgres's source")
	}
	if s.source, err = filepath.Abs(s.source); err != nil {
		return err
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "daymill-regress-"); err != nil {
			return err
		}
	} else if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	// The server writes here, too, as another user.
	for _, dir := range []string{s.dir, s.at("lib"), s.at("results"), s.at("testtablespace")} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o777)); err != nil { //nolint:gosec // See above.
			return err
		}
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.server.Close(), s.restored.Close()) }() //nolint:contextcheck // They stop the servers whatever happened.
	began := now()
	failed, err := s.workload(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "workload: %.0f s; %s\n", now().Sub(began).Seconds(), failed)
	began = now()
	if err := s.restore(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "restore: %.0f s\n", now().Sub(began).Seconds())
	return s.compare(ctx)
}

func now() time.Time { return time.Now() } //nolint:forbidigo // Only printed.

func (s *suite) at(name string) string { return filepath.Join(s.dir, name) }

func (s *suite) url() string { return s.server.URL(database) }

// prepare builds the suite's library and Daymill, and starts both clusters.
func (s *suite) prepare(ctx context.Context) (err error) {
	if s.binaries, err = pgserver.Find(ctx); err != nil {
		return err
	}
	if err := os.Setenv("PATH", s.binaries.Dir+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		return err
	}
	var headers, libraries string
	for option, into := range map[string]*string{"--includedir-server": &headers, "--pkglibdir": &libraries} {
		output, err := exec.CommandContext(ctx, "pg_config", option).Output()
		if err != nil {
			return fmt.Errorf("pg_config: %w", err)
		}
		*into = strings.TrimSpace(string(output))
	}
	if err := program(ctx, "cc", "-shared", "-fPIC", "-O2", "-I", headers, "-o", s.at("lib/regress.so"), filepath.Join(s.source, "regress.c")); err != nil {
		return err
	}
	for _, name := range []string{"autoinc.so", "refint.so"} {
		if err := os.Symlink(filepath.Join(libraries, name), s.at("lib/"+name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	s.daymill = s.at("daymill")
	if err := program(ctx, "go", "build", "-buildvcs=false", "-o", s.daymill, "github.com/daymill/daymill/cmd/daymill"); err != nil {
		return err
	}
	for _, into := range []**pgserver.Server{&s.server, &s.restored} {
		settings := pgserver.Throwaway()
		settings["wal_level"], settings["max_prepared_transactions"], settings["max_connections"] = "logical", "2", "60"
		if *into, err = pgserver.Start(ctx, pgserver.Config{Binaries: s.binaries, Settings: settings}); err != nil {
			return err
		}
		if err := program(ctx, "createdb", "--template=template0", "--maintenance-db="+(*into).URL("postgres"), database); err != nil {
			return err
		}
	}
	// As pg_regress does for a database that it creates.
	for _, setting := range []string{
		"lc_messages TO 'C'", "lc_monetary TO 'C'", "lc_numeric TO 'C'", "lc_time TO 'C'", "bytea_output TO 'hex'", "timezone_abbreviations TO 'Default'",
	} {
		if err := s.exec(ctx, "ALTER DATABASE "+database+" SET "+setting); err != nil {
			return err
		}
	}
	return nil
}

// workload runs the suite while the archive is kept, and returns the last line that pg_regress prints. Tests that list all event triggers or
// publications fail, because the archive has some.
func (s *suite) workload(ctx context.Context) (last string, err error) {
	if err := s.archive(ctx, "init").Run(); err != nil {
		return "", fmt.Errorf("archive init: %w", err)
	}
	keeper := s.archive(ctx, "run")
	if err := keeper.Start(); err != nil {
		return "", fmt.Errorf("archive run: %w", err)
	}
	defer func() {
		err = errors.Join(err, keeper.Process.Signal(os.Interrupt), keeper.Wait())
	}()
	if err := s.writeSchedule(); err != nil {
		return "", err
	}
	suite := exec.CommandContext(ctx, filepath.Join(s.binaries.Dir, "../lib/pgxs/src/test/regress/pg_regress"),
		"--use-existing", "--dbname="+database, "--host=127.0.0.1", "--port="+strconv.Itoa(s.server.Port), "--user="+pgserver.Superuser,
		"--inputdir="+s.source, "--outputdir="+s.dir, "--dlpath="+s.at("lib"), "--bindir="+s.binaries.Dir,
		"--schedule="+s.at("schedule"), "--max-connections="+strconv.Itoa(s.most))
	output, err := suite.Output()
	if _, is := errors.AsType[*exec.ExitError](err); err != nil && !is {
		return "", fmt.Errorf("pg_regress: %w", err)
	}
	if err := os.WriteFile(s.at("pg_regress.out"), output, 0o600); err != nil {
		return "", err
	}
	for line := range strings.Lines(string(output)) {
		if strings.HasSuffix(strings.TrimSpace(line), "tests failed.") || strings.Contains(line, "tests passed") {
			last = strings.Trim(line, " \n")
		}
	}
	return last, s.caughtUp(ctx)
}

// writeSchedule writes the schedule without some tests.
func (s *suite) writeSchedule() error {
	content, err := os.ReadFile(filepath.Join(s.source, s.schedule))
	if err != nil {
		return err
	}
	without := strings.Split(s.without, ",")
	var b strings.Builder
	for line := range strings.Lines(string(content)) {
		tests, is := strings.CutPrefix(line, "test:")
		if !is {
			continue
		}
		kept := slices.DeleteFunc(strings.Fields(tests), func(name string) bool { return slices.Contains(without, name) })
		if len(kept) > 0 {
			b.WriteString("test: " + strings.Join(kept, " ") + "\n")
		}
	}
	return os.WriteFile(s.at("schedule"), []byte(b.String()), 0o600)
}

func (s *suite) caughtUp(ctx context.Context) error {
	var end string
	if err := s.query(ctx, s.url(), "SELECT pg_logical_emit_message(true, 'regress', '')::text", &end); err != nil {
		return err
	}
	for done := false; !done; {
		err := s.query(ctx, s.url(), "SELECT bool_or(confirmed_flush_lsn > '"+end+"') FROM pg_replication_slots WHERE database = current_database()", &done)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// restore follows the archive's README.
func (s *suite) restore(ctx context.Context) error {
	gaps, err := filepath.Glob(s.at("archive/gaps/*.json"))
	if err != nil {
		return err
	}
	for _, gap := range gaps {
		content, err := os.ReadFile(gap)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "gap: %s", content)
	}
	bases, err := filepath.Glob(s.at("archive/bases/*/globals.sql"))
	if err != nil || len(bases) == 0 {
		return errors.Join(err, errors.New("the archive has no base"))
	}
	roles := exec.CommandContext(ctx, "psql", "-X", "-q", "-d", s.restored.URL("postgres"), "-f", bases[0])
	if output, err := roles.CombinedOutput(); err != nil {
		return fmt.Errorf("restore roles: %w: %s", err, output)
	}
	return program(ctx, "sh", s.at("archive/restore.sh"), s.restored.URL(database))
}

func (s *suite) archive(ctx context.Context, verb string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.daymill, "archive", verb, "--archive", "file://"+s.at("archive"))
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.url())
	cmd.Stderr = os.Stderr
	return cmd
}

func program(ctx context.Context, name string, arguments ...string) error {
	if output, err := exec.CommandContext(ctx, name, arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, output)
	}
	return nil
}

func (s *suite) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.url())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}

func (s *suite) query(ctx context.Context, url, sql string, into any) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return conn.QueryRow(ctx, sql).Scan(into)
}
