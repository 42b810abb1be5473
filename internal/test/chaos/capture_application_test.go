package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/pgserver"
)

// application is the application's database: the same as the log's, or in a separate cluster, which may be replaced by another one.
type application struct {
	name string // of the database
	own  bool   // whether it has a separate cluster

	mu       sync.Mutex
	server   *pgserver.Server
	follower *pgserver.Server // nil if none is to be promoted
	backup   string           // a copy of the data directory, "" if there is none
	old      []*pgserver.Server
}

func newApplication(ctx context.Context, x *captureTrial, replication string) (*application, error) {
	if !x.schedule.apart {
		return &application{name: x.name, server: x.lane.server}, nil
	}
	server, err := newServer(ctx, logical)
	if err != nil {
		return nil, err
	}
	a := &application{name: "shop", own: true, server: server, backup: filepath.Join(x.dir, "backup")}
	err = admin(ctx, server, "postgres", "CREATE ROLE "+role+" LOGIN "+replication, "CREATE DATABASE shop OWNER "+role)
	return a, err
}

func (a *application) current() *pgserver.Server {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.server
}

func (a *application) url() string { return a.current().URL(a.name) }

func (a *application) workerURL(address string) string {
	return workerURL(a.current(), a.name, address)
}

func (a *application) admin(ctx context.Context, statements ...string) error {
	return admin(ctx, a.current(), a.name, statements...)
}

// crash stops the cluster at once, does something, and starts it, which recovers.
func (a *application) crash(ctx context.Context, do func(server *pgserver.Server) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.server.Stop(ctx, pgserver.Immediate); err != nil {
		return err
	}
	return errors.Join(do(a.server), a.server.Start(ctx))
}

// copyOf copies a data directory, and keeps the files' owners.
func copyOf(ctx context.Context, from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if output, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy a data directory: %w: %s", err, output)
	}
	return nil
}

// keep makes the backup, like a snapshot of the disk.
func (a *application) keep(ctx context.Context) error {
	return a.crash(ctx, func(server *pgserver.Server) error { return copyOf(ctx, server.DataDir(), a.backup) })
}

// restore resets the cluster to the backup.
func (a *application) restore(ctx context.Context) error {
	return a.crash(ctx, func(server *pgserver.Server) error { return copyOf(ctx, a.backup, server.DataDir()) })
}

// follow creates a follower that will be promoted.
func (a *application) follow(ctx context.Context) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.follower, err = a.server.Follower(ctx)
	return err
}

// failOver promotes the follower, which lacks the primary's last writes.
func (a *application) failOver(ctx context.Context, lag time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := admin(ctx, a.follower, "postgres", "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
	sleep(ctx, lag)
	err = errors.Join(err, a.server.Stop(ctx, pgserver.Immediate), a.follower.Promote(ctx))
	a.old = append(a.old, a.server)
	a.server, a.follower = a.follower, nil
	return err
}

func (a *application) close(context.Context) error {
	if !a.own {
		return nil
	}
	var err error
	for _, server := range append(a.old, a.server, a.follower) {
		if server != nil {
			err = errors.Join(err, server.Close())
		}
	}
	return errors.Join(err, os.RemoveAll(a.backup))
}

// query runs a query of one row and one value.
func (a *application) query(ctx context.Context, sql string, to any) error {
	conn, err := pgx.Connect(ctx, a.url())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return conn.QueryRow(ctx, sql).Scan(to)
}

// settle ends prepared transactions whose application no longer runs.
func (a *application) settle(ctx context.Context, x *captureTrial) {
	var err error
	for range 200 {
		var prepared []string
		err = a.query(ctx, "SELECT coalesce(array_agg(gid), '{}') FROM pg_prepared_xacts WHERE database = current_database()", &prepared)
		if err == nil && len(prepared) == 0 {
			return
		}
		for i, gid := range prepared {
			x.note(a.admin(ctx, []string{"COMMIT", "ROLLBACK"}[i%2]+" PREPARED '"+gid+"'"))
		}
		if err == nil {
			err = fmt.Errorf("there were still %d", len(prepared))
		}
		sleep(ctx, 100*time.Millisecond)
	}
	x.fatal(fmt.Errorf("end prepared transactions: %w", err))
}

// exec runs a statement that may take long.
func (a *application) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, a.url())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}
