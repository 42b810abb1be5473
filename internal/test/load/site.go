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

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/pgserver"
)

// site is the cluster with Daymill, the workers, and the connections of the writers and for samples.
type site struct {
	options

	dir     string
	server  *pgserver.Server
	writing *pgxpool.Pool
	looking *pgxpool.Pool
	workers []*worker
	late    []day
	today   day
	since   since
}

// day is a date with its bounds.
type day struct {
	date     date.Date
	from, to time.Time
}

// application names.
const (
	writerName = "load writer"
	lookerName = "load looker"
)

// newSite starts everything but the writers. The caller closes the result, also after an error.
func newSite(ctx context.Context, o options) (*site, error) {
	s := &site{options: o}
	return s, s.open(ctx)
}

func (s *site) open(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "daymill-load-"); err != nil {
		return err
	}
	if err := s.build(ctx); err != nil {
		return err
	}
	binaries, err := pgserver.Find(ctx)
	if err != nil {
		return err
	}
	s.server, err = pgserver.Start(ctx, pgserver.Config{Binaries: binaries})
	if err != nil {
		return err
	}
	if s.writing, err = s.pool(ctx, writerName, s.writers); err != nil {
		return err
	}
	if s.looking, err = s.pool(ctx, lookerName, 1); err != nil {
		return err
	}
	if err := s.install(ctx); err != nil {
		return err
	}
	for i := range s.processes {
		w, err := s.startWorker(ctx, i+1)
		if err != nil {
			return err
		}
		s.workers = append(s.workers, w)
	}
	return nil
}

func (s *site) close() error {
	for _, w := range s.workers {
		w.kill()
	}
	if s.writing != nil {
		s.writing.Close()
	}
	if s.looking != nil {
		s.looking.Close()
	}
	var err error
	if s.server != nil {
		err = s.server.Close()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// build builds the binary, as `make build` does.
func (s *site) build(ctx context.Context) error {
	if s.binary != "" {
		return nil
	}
	s.binary = filepath.Join(s.dir, "daymill")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", s.binary,
		"github.com/daymill/daymill/cmd/daymill")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build Daymill: %w: %s", err, output)
	}
	return nil
}

func (s *site) pool(ctx context.Context, name string, size int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(s.server.URL("postgres"))
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(size) //nolint:gosec // A number of writers.
	config.ConnConfig.RuntimeParams["application_name"] = name
	return pgxpool.NewWithConfig(ctx, config)
}

// tableSQL creates an application's tables. Events of today go to a separate table: otherwise they would spread the late events of a date over
// more and more pages, and the test would measure Postgres's cache. Late events are requested in two ways: the writer requests those of
// app.late, and the triggers of `source watch` those of app.imports.
const tableSQL = `
CREATE SCHEMA app;
CREATE TABLE app.events (entity_id bigint NOT NULL, event_type text NOT NULL, created_at timestamptz NOT NULL);
CREATE INDEX events_created_at ON app.events (created_at);
CREATE TABLE app.late (LIKE app.events);
CREATE INDEX late_created_at ON app.late (created_at);
CREATE TABLE app.imports (LIKE app.events);
CREATE INDEX imports_created_at ON app.imports (created_at);
CREATE OR REPLACE VIEW analytics.events AS
SELECT entity_id::analytics.entity_id AS entity_id, event_type, created_at FROM app.events
UNION ALL
SELECT entity_id::analytics.entity_id, event_type, created_at FROM app.late
UNION ALL
SELECT entity_id::analytics.entity_id, event_type, created_at FROM app.imports`

// fillSQL inserts the events of late dates, half of them into each of two tables: $1 is the number of dates, $2 the events of each. A few
// entities have many and most have few.
const fillSQL = `
INSERT INTO app.%[1]s (entity_id, event_type, created_at)
SELECT
	floor(power(random(), 3) * 5000)::bigint,
	(ARRAY['view', 'view', 'view', 'view', 'click', 'save', 'skip', 'share'])[1 + floor(random() * 8)::integer],
	analytics.date_start(analytics.date_of(now()) - i) + random() * interval '23 hours 59 minutes'
FROM generate_series(1, $1::integer) AS i, generate_series(1, $2::integer / 2)
ORDER BY 3`

func (s *site) install(ctx context.Context) error {
	err := s.daymill(ctx, "migrate", "--entity-type", "bigint", "--timezone", "UTC", "--river-schema", riverSchema)
	if err != nil {
		return err
	}
	if _, err := s.looking.Exec(ctx, tableSQL); err != nil {
		return fmt.Errorf("create the tables: %w", err)
	}
	for _, table := range []string{"late", "imports"} {
		if _, err := s.looking.Exec(ctx, fmt.Sprintf(fillSQL, table), s.dates, s.events); err != nil {
			return fmt.Errorf("insert random events: %w", err)
		}
		if _, err := s.looking.Exec(ctx, "VACUUM ANALYZE app."+table); err != nil {
			return fmt.Errorf("vacuum: %w", err)
		}
	}
	if err := s.daymill(ctx, "source", "watch", "--table", "app.imports", "--time", "created_at"); err != nil {
		return err
	}
	for i := range s.dates + 1 {
		var d day
		err := s.looking.QueryRow(ctx, `SELECT d, analytics.date_start(d), analytics.date_start(d + 1)
			FROM (SELECT analytics.date_of(now()) - $1::integer) AS x (d)`, i).Scan(&d.date, &d.from, &d.to)
		if err != nil {
			return fmt.Errorf("find the dates: %w", err)
		}
		if i == 0 {
			s.today = d
		} else {
			s.late = append(s.late, d)
		}
	}
	return nil
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

// daymill runs a verb to its end.
func (s *site) daymill(ctx context.Context, arguments ...string) error {
	var output bytes.Buffer
	cmd := s.command(ctx, arguments...)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("daymill %s: %w: %s", strings.Join(arguments, " "), err, output.String())
	}
	return nil
}
