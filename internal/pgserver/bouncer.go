package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrNoBouncer is returned by FindBouncer if there is no PgBouncer.
var ErrNoBouncer = errors.New("there is no pgbouncer on this machine: install your system's package of it")

// FindBouncer returns the path of PgBouncer.
func FindBouncer() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer", "/opt/homebrew/bin/pgbouncer", "/usr/local/bin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNoBouncer
}

// BouncerConfig says what PgBouncer to start.
type BouncerConfig struct {
	Path     string            // of the program, from FindBouncer
	Server   *Server           // the server to connect to
	Users    []string          // who may connect without a password, in addition to the superuser
	Settings map[string]string // of the section [pgbouncer], overriding the defaults
}

// Bouncer is a PgBouncer in transaction mode in front of a server. It has few connections to the server, so that clients share them.
type Bouncer struct {
	Port int

	dir      string
	process  *process
	watchdog *watchdog
}

// StartBouncer starts PgBouncer and returns it when it accepts connections.
func StartBouncer(ctx context.Context, config BouncerConfig) (*Bouncer, error) {
	dir, err := ownDir("", "")
	if err != nil {
		return nil, err
	}
	b := &Bouncer{dir: dir}
	b.watchdog, err = watch(ctx, dir, b.pidFile(), true)
	if err == nil {
		err = b.start(ctx, config)
	}
	if err != nil {
		return nil, errors.Join(err, b.close(ctx))
	}
	return b, nil
}

func (b *Bouncer) pidFile() string { return filepath.Join(b.dir, "pgbouncer.pid") }

func (b *Bouncer) start(ctx context.Context, config BouncerConfig) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var err error
	for range startTries {
		if b.Port, err = FreePort(); err != nil {
			return err
		}
		if err = b.startHere(ctx, config); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

func (b *Bouncer) startHere(ctx context.Context, config BouncerConfig) error {
	configFile, log := filepath.Join(b.dir, "pgbouncer.ini"), filepath.Join(b.dir, "log")
	var users strings.Builder
	for _, name := range append([]string{Superuser}, config.Users...) {
		users.WriteString(strconv.Quote(name) + " \"\"\n")
	}
	if err := errors.Join(
		writeOwned(b.usersFile(), []byte(users.String())),
		writeOwned(configFile, b.config(config)),
	); err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), config.Path, configFile)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = b.dir, environment(), attributes()
	var err error
	if b.process, err = launch(log, cmd); err != nil {
		return fmt.Errorf("start PgBouncer: %w", err)
	}
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", b.address())
		if err == nil {
			return conn.Close()
		}
		if !b.process.alive() {
			content, _ := os.ReadFile(log) // Without the log, the error has fewer details.
			if bytes.Contains(content, []byte("ddress already in use")) {
				return fmt.Errorf("start PgBouncer on port %d: %w", b.Port, errPortTaken)
			}
			const lines = 6
			return fmt.Errorf("start PgBouncer: it ended at once: %s", lastLines(content, lines))
		}
		if err := wait(ctx, pollInterval); err != nil {
			return fmt.Errorf("start PgBouncer: it is not ready: %w", err)
		}
	}
}

func (b *Bouncer) usersFile() string { return filepath.Join(b.dir, "users.txt") }

func (b *Bouncer) config(config BouncerConfig) []byte {
	settings := map[string]string{
		"auth_file":         b.usersFile(),
		"auth_type":         "trust",
		"default_pool_size": "4",
		"listen_addr":       "127.0.0.1",
		"listen_port":       strconv.Itoa(b.Port),
		"max_client_conn":   "200",
		"pidfile":           b.pidFile(),
		"pool_mode":         "transaction",
		"unix_socket_dir":   "",
	}
	maps.Copy(settings, config.Settings)
	var text strings.Builder
	text.WriteString("[databases]\n* = host=127.0.0.1 port=" + strconv.Itoa(config.Server.Port) + "\n[pgbouncer]\n")
	writeLines(&text, settings, func(value string) string { return value })
	return []byte(text.String())
}

func (b *Bouncer) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.Port)) }

// URL returns the URL of a database of the server through PgBouncer, as the superuser.
func (b *Bouncer) URL(database string) string { return loopbackURL(b.Port, database) }

// Close ends PgBouncer and every connection through it.
func (b *Bouncer) Close() error { return b.close(context.Background()) }

func (b *Bouncer) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	var err error
	if b.process.alive() {
		err = b.process.end(ctx, syscall.SIGKILL)
	}
	b.watchdog.end()
	return errors.Join(err, os.RemoveAll(b.dir))
}
