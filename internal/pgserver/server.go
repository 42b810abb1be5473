package pgserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Superuser is the role that every cluster is made with. It needs no password.
const Superuser = "postgres"

// Config says what cluster to start.
type Config struct {
	// Binaries are the server's programs, from Find.
	Binaries Binaries

	// Dir is where the cluster is kept: made and filled where it is missing or empty, resumed where it has a cluster.
	// Empty means a temporary directory, which Close removes.
	Dir string

	// Settings go to the server's configuration: {"max_connections": "300"}. They are in a file, so ALTER SYSTEM
	// overrides them. The port and the addresses are not the caller's to set.
	Settings map[string]string

	// Private has the server listen on no address, but on a socket in its directory, into which nobody may look but the
	// server's user and root. Otherwise it listens on the loopback interface, and whoever is on the machine is let in.
	Private bool

	// Files are written to the data directory, readable by the server alone: pg_hba.conf, server.key.
	Files map[string][]byte
}

// Throwaway are settings for a cluster whose data nobody needs after a crash of the machine. Those who measure how much
// is written, or how long it takes, leave them out.
func Throwaway() map[string]string {
	return map[string]string{"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
}

// Mode is how a server is stopped.
type Mode syscall.Signal

// Fast ends every session, writes a checkpoint and exits. Immediate exits at once, as in a crash: the next start
// recovers from the WAL.
const (
	Fast      = Mode(syscall.SIGINT)
	Immediate = Mode(syscall.SIGQUIT)
)

// Server is a cluster, running or stopped. Its methods are for one goroutine at a time, but URL and Port are for any.
type Server struct {
	Binaries Binaries
	Port     int

	dir      string // holds data, log and the socket
	remove   bool   // whether Close removes dir
	private  bool   // see Config
	settings map[string]string
	process  *process // nil where it is stopped
	watchdog *watchdog
}

// Start makes a cluster, or resumes the one in config.Dir, and returns it when it accepts connections.
func Start(ctx context.Context, config Config) (*Server, error) {
	s, err := prepare(ctx, config.Binaries, config.Dir)
	if err != nil {
		return nil, err
	}
	s.private = config.Private
	if err := s.begin(ctx, config); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// prepare makes the directory of a server, and its watchdog.
func prepare(ctx context.Context, binaries Binaries, dir string) (*Server, error) {
	s := &Server{Binaries: binaries, remove: dir == ""}
	var err error
	if s.dir, err = ownDir(dir); err != nil {
		return nil, err
	}
	s.watchdog, err = watch(ctx, s.dir, filepath.Join(s.data(), pidFile), s.remove)
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

func (s *Server) begin(ctx context.Context, config Config) error {
	if _, err := os.Stat(filepath.Join(s.data(), "PG_VERSION")); err != nil {
		err := s.run(ctx, "initdb", "--pgdata", s.data(), "--username", Superuser, "--auth", "trust",
			"--encoding", "UTF8", "--locale", "C", "--no-sync")
		if err != nil {
			return fmt.Errorf("make a cluster: %w", err)
		}
		if err := s.include(); err != nil {
			return err
		}
	}
	s.settings = maps.Clone(config.Settings)
	if err := s.writeSettings(); err != nil {
		return err
	}
	for name, content := range config.Files {
		if err := writeOwned(filepath.Join(s.data(), name), content); err != nil {
			return err
		}
	}
	return s.startSomewhere(ctx)
}

// Files in the data directory.
const (
	pidFile      = "postmaster.pid"
	settingsFile = "daymill.conf"
)

// include lets the server read the settings' file after its own configuration.
func (s *Server) include() error {
	file, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("configure the cluster: %w", err)
	}
	_, err = file.WriteString("\ninclude '" + settingsFile + "'\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("configure the cluster: %w", err)
	}
	return nil
}

func (s *Server) writeSettings() error {
	var text strings.Builder
	writeLines(&text, s.settings, func(value string) string { return "'" + strings.ReplaceAll(value, "'", "''") + "'" })
	return writeOwned(filepath.Join(s.data(), settingsFile), []byte(text.String()))
}

// writeLines writes settings as lines of a configuration file, in order.
func writeLines(text *strings.Builder, settings map[string]string, quote func(value string) string) {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		text.WriteString(name + " = " + quote(settings[name]) + "\n")
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// LogFile is where the server's log goes.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "log") }

// DataDir is the cluster's data directory. As root, it belongs to another user.
func (s *Server) DataDir() string { return s.data() }

// URL leads to a database of the cluster, as the superuser. It has no secret: of a private server it works for those who may
// look into its directory.
func (s *Server) URL(database string) string {
	if !s.private {
		return loopbackURL(s.Port, database)
	}
	u := url.URL{
		Scheme: "postgres", User: url.User(Superuser), Path: "/" + database,
		RawQuery: url.Values{"host": {s.dir}, "port": {strconv.Itoa(s.Port)}}.Encode(),
	}
	return u.String()
}

func loopbackURL(port int, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(Superuser), Path: "/" + database, RawQuery: "sslmode=disable",
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
	}
	return u.String()
}

// Running reports whether the server's process is alive.
func (s *Server) Running() bool { return s.process.alive() }

// PID is the server's process, 0 where it is stopped.
func (s *Server) PID() int {
	if !s.Running() {
		return 0
	}
	return s.process.pid()
}

// Stop ends the server, and returns when its process is gone. The cluster stays as it is, for Start. A server that is
// stopped already stays so.
func (s *Server) Stop(ctx context.Context, mode Mode) error {
	if !s.Running() {
		return nil
	}
	if err := s.process.end(ctx, syscall.Signal(mode)); err != nil {
		return fmt.Errorf("stop Postgres: %w", err)
	}
	return nil
}

// Restart is Stop and Start.
func (s *Server) Restart(ctx context.Context, mode Mode) error {
	if err := s.Stop(ctx, mode); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Close ends the server for good, at once where its directory is temporary and goes with it.
func (s *Server) Close() error { return s.close(context.Background()) }

func (s *Server) close(ctx context.Context) error {
	mode := Fast
	if s.remove {
		mode = Immediate
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	err := s.Stop(ctx, mode)
	s.watchdog.end()
	if s.remove {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}
