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

// Superuser is the superuser of every cluster. It needs no password.
const Superuser = "postgres"

// Config says which cluster to start.
type Config struct {
	// Binaries are the server's programs, from Find.
	Binaries Binaries

	// Dir is the directory of the cluster. If it is missing or empty, Start creates a cluster there; otherwise it resumes the cluster.
	// Empty means a temporary directory, which Close removes.
	Dir string

	// InMemory puts a temporary directory into memory if the machine has eight gigabytes for it: creating a database there, which is hundreds of
	// files, takes half as long. For clusters whose speed nobody measures.
	InMemory bool

	// Settings are written to a configuration file, such as {"max_connections": "300"}. ALTER SYSTEM overrides them. Start itself
	// sets the port and the addresses.
	Settings map[string]string

	// Private makes the server listen only on a socket in its directory, which only the server's user and root can access. Otherwise it
	// listens on the loopback interface, and every user of the machine can connect.
	Private bool

	// Files are written to the data directory, readable only by the server: pg_hba.conf, server.key.
	Files map[string][]byte
}

// Throwaway returns settings for a cluster whose data nobody needs after a crash of the machine. Do not use them to measure how much
// is written or how long it takes.
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

// Server is a cluster, running or stopped. Only URL and Port are safe for concurrent use.
type Server struct {
	Binaries Binaries
	Port     int
	// InMemory reports whether the cluster's files are in memory.
	InMemory bool

	dir      string // holds data, log and the socket
	remove   bool   // whether Close removes dir
	private  bool   // see Config
	settings map[string]string
	process  *process // nil if it is stopped
	watchdog *watchdog
}

// Start creates a cluster, or resumes the one in config.Dir, and returns it when it accepts connections.
func Start(ctx context.Context, config Config) (*Server, error) {
	s, err := prepare(ctx, config.Binaries, config.Dir, config.InMemory)
	if err != nil {
		return nil, err
	}
	s.private = config.Private
	if err := s.begin(ctx, config); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// prepare creates the directory of a server, and starts its watchdog.
func prepare(ctx context.Context, binaries Binaries, dir string, inMemory bool) (*Server, error) {
	s := &Server{Binaries: binaries, remove: dir == ""}
	memory := ""
	if inMemory && dir == "" {
		memory = memoryDir(room)
	}
	var err error
	if s.dir, err = ownDir(dir, memory); err != nil {
		return nil, err
	}
	s.InMemory = memory != "" && filepath.Dir(s.dir) == memory
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

// include makes the server read the file with the settings after its own configuration.
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

// LogFile returns the path of the server's log.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "log") }

// DataDir returns the cluster's data directory. If this process runs as root, the directory belongs to another user.
func (s *Server) DataDir() string { return s.data() }

// URL returns the URL of a database of the cluster, as the superuser. It has no password. For a private server, it works only for users
// who can access the server's directory.
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

// PID returns the server's process id; 0 if it is stopped.
func (s *Server) PID() int {
	if !s.Running() {
		return 0
	}
	return s.process.pid()
}

// Stop stops the server, and returns when its process has ended. Start can resume the cluster. Stopping a stopped server does nothing.
func (s *Server) Stop(ctx context.Context, mode Mode) error {
	if !s.Running() {
		return nil
	}
	if err := s.process.end(ctx, syscall.Signal(mode)); err != nil {
		return fmt.Errorf("stop Postgres: %w", err)
	}
	return nil
}

// Restart calls Stop and then Start.
func (s *Server) Restart(ctx context.Context, mode Mode) error {
	if err := s.Stop(ctx, mode); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Close ends the server and its watchdog. If the directory is temporary, Close ends the server at once and removes the directory.
func (s *Server) Close() error { return s.close(context.Background()) }

func (s *Server) close(ctx context.Context) error {
	mode := Fast
	if s.remove {
		mode = Immediate
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	err := s.Stop(ctx, mode)
	if s.remove {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	s.watchdog.end() // Last: until then it removes the directory if this process is killed.
	return err
}
