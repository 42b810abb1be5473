package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/pgserver"
)

// server has the benchmark's databases.
type server struct {
	own     *pgserver.Server // nil if the server is the user's
	admin   *url.URL
	version string
	made    []string
	psql    string // empty if there is none
	tracks  bool   // whether it has pg_stat_statements
}

// settings of the new cluster: those of initdb, including fsync, and what the figures need. Dead rows are counted, so autovacuum is off;
// each turn is preceded by a vacuum instead.
func settings(o options, preload bool) map[string]string {
	set := map[string]string{
		"shared_buffers": o.buffers, "autovacuum": "off", "max_connections": "100", "max_wal_size": "4GB",
		"checkpoint_timeout": "1h", "track_io_timing": "off",
	}
	if o.capture {
		set["wal_level"], set["max_replication_slots"], set["max_wal_senders"] = "logical", "20", "20"
	}
	if o.other { // Otherwise, a subscription that is enabled again soon waits for five seconds.
		set["wal_retrieve_retry_interval"] = "50ms"
	}
	if preload {
		set["shared_preload_libraries"] = "pg_stat_statements"
	}
	return set
}

func startServer(ctx context.Context, o options) (*server, error) {
	started, address := &server{}, o.databaseURL
	binaries, err := pgserver.Find(ctx)
	switch {
	case address != "": // In this case, only psql is needed.
	case err != nil:
		return nil, err
	default:
		started.own, err = pgserver.Start(ctx, pgserver.Config{Binaries: binaries, Settings: settings(o, true)})
		if err != nil { // The library of pg_stat_statements is an extra package on some systems.
			started.own, err = pgserver.Start(ctx, pgserver.Config{Binaries: binaries, Settings: settings(o, false)})
		}
		if err != nil {
			return nil, err
		}
		address = started.own.URL("postgres")
	}
	if psql := filepath.Join(binaries.Dir, "psql"); binaries.Dir != "" {
		if _, err := os.Stat(psql); err == nil {
			started.psql = psql
		}
	}
	if started.admin, err = url.Parse(address); err != nil {
		return nil, errors.Join(errors.New("-database-url is not a URL"), started.close(ctx))
	}
	err = started.do(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT current_setting('server_version'),
			current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'`).Scan(&started.version, &started.tracks)
	})
	if err != nil {
		return nil, errors.Join(err, started.close(ctx))
	}
	return started, nil
}

// startOther starts the second cluster of capture: a subscription writes there, and its wal_level leaves only triggers to capture by.
func startOther(ctx context.Context, o options) (*server, error) {
	if o.databaseURL != "" {
		return nil, errors.New("-capture needs clusters of its own: leave out -database-url")
	}
	o.capture, o.other = false, true
	return startServer(ctx, o)
}

// do calls a function with a connection to the server's default database.
func (s *server) do(ctx context.Context, do func(conn *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.admin.String())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return do(conn)
}

func (s *server) close(ctx context.Context) error {
	if s.own != nil {
		return s.own.Close() //nolint:contextcheck // Remove the temporary server even if ctx is done.
	}
	ctx = context.WithoutCancel(ctx) // Remove the databases even after an interrupt.
	return s.do(ctx, func(conn *pgx.Conn) error {
		for _, name := range s.made {
			if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
				return fmt.Errorf("drop the databases: %w", err)
			}
		}
		return nil
	})
}

// address returns the server's address, for the proxy.
func (s *server) address() string {
	if s.admin.Port() == "" {
		return s.admin.Host + ":5432"
	}
	return s.admin.Host
}

// url returns the URL of a database.
func (s *server) url(name string) string {
	u := *s.admin
	u.Path = "/" + name
	return u.String()
}

// create creates an empty database.
func (s *server) create(ctx context.Context, name string) (string, error) {
	name = "daymill_bench_" + name
	err := s.do(ctx, func(conn *pgx.Conn) error {
		for _, sql := range []string{"DROP DATABASE IF EXISTS %s WITH (FORCE)", "CREATE DATABASE %s TEMPLATE template0"} {
			if _, err := conn.Exec(ctx, fmt.Sprintf(sql, pgx.Identifier{name}.Sanitize())); err != nil {
				return fmt.Errorf("create a database: %w", err)
			}
		}
		return nil
	})
	s.made = append(s.made, name)
	return s.url(name), err
}

// setting reads a setting of the server.
func (s *server) setting(ctx context.Context, name string, value *string) error {
	return s.do(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(value)
	})
}
