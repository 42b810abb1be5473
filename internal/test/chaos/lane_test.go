package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/worker"
)

// lane is a Postgres that runs one seed after another, each in a new database.
type lane struct {
	mu       sync.Mutex // held while the server is down
	server   *pgserver.Server
	follower *pgserver.Server // nil until a seed needs it
}

const (
	role     = "daymill"  // the workers' role; not a superuser
	template = "template" // the database that a seed's database is copied from
	zone     = "America/Sao_Paulo"
)

// newLane starts a server. What Postgres has acknowledged survives its immediate shutdown, although fsync is off: the data is with the operating
// system, which does not crash. Commits are written before they are acknowledged.
func newLane(ctx context.Context) (*lane, error) {
	server, err := newServer(ctx, nil)
	if err != nil {
		return nil, err
	}
	l := &lane{server: server}
	if err := l.install(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// newServer starts a cluster with the settings of a lane, and additional ones.
func newServer(ctx context.Context, more map[string]string) (*pgserver.Server, error) {
	binaries, err := pgserver.Find(ctx)
	if err != nil {
		return nil, err
	}
	settings := map[string]string{
		"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on",
		"autovacuum": "off", "max_connections": "100", "shared_buffers": "32MB", "timezone": "Asia/Kathmandu",
		"wal_keep_size": "1GB", "max_wal_size": "2GB", "checkpoint_timeout": "1h", "wal_retrieve_retry_interval": "200ms",
		"restart_after_crash": "on",
	}
	maps.Copy(settings, more)
	return pgserver.Start(ctx, pgserver.Config{Binaries: binaries, Settings: settings, InMemory: true})
}

func (l *lane) close() error {
	var err error
	if l.follower != nil {
		err = l.follower.Close()
	}
	return errors.Join(err, l.server.Close())
}

// workerURL returns a URL of a database for the workers' role, optionally through a proxy.
func workerURL(server *pgserver.Server, database, address string) string {
	u, err := url.Parse(server.URL(database))
	if err != nil {
		return err.Error()
	}
	u.User = url.User(role)
	if address != "" {
		u.Host = address
	}
	return u.String()
}

// admin runs statements on a database of a server, one by one, as the superuser.
func admin(ctx context.Context, server *pgserver.Server, database string, statements ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.URL(database))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// install creates the template: Daymill, the source, and the audit of the runs.
func (l *lane) install(ctx context.Context) error {
	err := admin(ctx, l.server, "postgres", "CREATE ROLE "+role+" LOGIN", "CREATE DATABASE "+template+" OWNER "+role)
	if err != nil {
		return err
	}
	if err := admin(ctx, l.server, template, dawdleSQL); err != nil {
		return err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: workerURL(l.server, template, ""), StatementTimeout: time.Minute})
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = schema.Up(ctx, db, schema.Options{
		EntityType: entity.Bigint, TimeZone: zone, RiverSchema: "river",
		River: worker.RiverMigrator(db.Pool),
	})
	if err != nil {
		return fmt.Errorf("install Daymill: %w", err)
	}
	installation, err := schema.Get(ctx, db)
	if err != nil {
		return err
	}
	if err := admin(ctx, l.server, template, eventsSQL); err != nil {
		return err
	}
	err = source.Set(ctx, db, installation, source.Options{
		Table: "app.events", Entity: "entity_id", Type: "event_type", Time: "created_at", Where: "(SELECT chaos.dawdle('read'))",
	})
	if err != nil {
		return fmt.Errorf("set the source: %w", err)
	}
	return admin(ctx, l.server, template, auditSQL)
}

// create creates a seed's database, also on the follower if there is one.
func (l *lane) create(ctx context.Context, name string, follower bool) error {
	// Connections to the template may take a moment to go away.
	var err error
	for range 100 {
		if err = admin(ctx, l.server, "postgres", "CREATE DATABASE "+name+" OWNER "+role+" TEMPLATE "+template); err == nil {
			break
		}
		sleep(ctx, 50*time.Millisecond)
	}
	if err != nil || !follower {
		return err
	}
	if l.follower == nil {
		if l.follower, err = l.server.Follower(ctx); err != nil {
			return err
		}
	}
	for range 600 {
		if err = admin(ctx, l.follower, name, "SELECT"); err == nil {
			return nil
		}
		sleep(ctx, 50*time.Millisecond)
	}
	return fmt.Errorf("the follower does not follow: %w", err)
}

func (l *lane) drop(ctx context.Context, name string) error {
	return admin(ctx, l.server, "postgres", "DROP DATABASE "+name+" WITH (FORCE)")
}

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
