package pgtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/worker"
)

// Installed says with which options Daymill is installed in a database. Empty fields mean the defaults: uuid, UTC, public.
type Installed struct {
	EntityType  entity.Type
	TimeZone    string
	RiverSchema string
}

// templates are the databases from which tests' databases are copied.
type templates struct {
	server *pgserver.Server

	mu     sync.Mutex
	byKind map[any]*template
	count  int
}

// template is one of them.
type template struct {
	once sync.Once
	name string
	err  error
}

// empty is the kind of the template without an installation, from which the others are created.
type empty struct{}

// get returns the name of the template of a kind, which fill fills the first time.
func (t *templates) get(kind any, fill func(name string) error) (string, error) {
	t.mu.Lock()
	if t.byKind == nil {
		t.byKind = map[any]*template{}
	}
	tpl := t.byKind[kind]
	if tpl == nil {
		t.count++
		tpl = &template{name: fmt.Sprintf("template_%d", t.count)}
		t.byKind[kind] = tpl
	}
	t.mu.Unlock()
	tpl.once.Do(func() { tpl.err = fill(tpl.name) })
	return tpl.name, tpl.err
}

func (t *templates) empty(ctx context.Context) (string, error) {
	return t.get(empty{}, func(name string) error { return createEmpty(ctx, t.server, name) })
}

func (t *templates) installed(ctx context.Context, installed Installed) (string, error) {
	from, err := t.empty(ctx)
	if err != nil {
		return "", err
	}
	return t.get(installed, func(name string) error {
		if err := create(ctx, t.server, name, from); err != nil {
			return err
		}
		return install(ctx, t.server.URL(name), installed)
	})
}

// createEmpty creates a database whose default collation orders text as people do, if the server can: a query that
// needs the order of bytes has to say so.
func createEmpty(ctx context.Context, server *pgserver.Server, name string) error {
	const firstWithICU = 15
	if server.Binaries.Major >= firstWithICU {
		err := administer(ctx, server, "CREATE DATABASE "+quote(name)+
			" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
		if err == nil || postgres.Code(err) != pgerrcode.FeatureNotSupported {
			return err
		}
	}
	return create(ctx, server, name, "template0")
}

// create copies a database. In memory, copying its files is faster than writing its pages to the WAL; on a disk it is slower.
func create(ctx context.Context, server *pgserver.Server, name, from string) error {
	const firstWithStrategy = 15
	sql := "CREATE DATABASE " + quote(name) + " TEMPLATE " + quote(from)
	if server.InMemory && server.Binaries.Major >= firstWithStrategy {
		sql += " STRATEGY file_copy"
	}
	return administer(ctx, server, sql)
}

func drop(ctx context.Context, server *pgserver.Server, name string) error {
	return administer(ctx, server, "DROP DATABASE "+quote(name)+" WITH (FORCE)")
}

// administer runs a statement about the cluster.
func administer(ctx context.Context, server *pgserver.Server, sql string) error {
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	_, err = conn.Exec(ctx, sql)
	if postgres.Code(err) != "" {
		err = fmt.Errorf("%s: %w", sql, err)
	}
	return errors.Join(err, conn.Close(ctx))
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// install migrates a database, and leaves no connection to it.
func install(ctx context.Context, url string, installed Installed) error {
	db, err := open(ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = schema.Up(ctx, db, schema.Options{
		EntityType: installed.EntityType, TimeZone: installed.TimeZone, RiverSchema: installed.RiverSchema,
		River: worker.RiverMigrator(db.Pool),
	})
	if err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}
