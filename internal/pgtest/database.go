package pgtest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// DB is a test's own database, dropped at the test's end.
type DB struct {
	*postgres.DB // open until the test's end, as the superuser

	Name         string
	URL          string
	Server       *pgserver.Server
	Installation schema.Installation // zero where nothing is installed
}

// Database returns a database in which Daymill is installed, without a source.
func Database(t testing.TB, installed Installed) *DB {
	t.Helper()
	server, err := shared.start()
	require.NoError(t, err)
	from, err := shared.templates.installed(context.WithoutCancel(t.Context()), installed)
	require.NoError(t, err)
	return newDB(t, server, from).installation(t)
}

// Empty returns a database in which nothing is installed.
func Empty(t testing.TB) *DB {
	t.Helper()
	server, err := shared.start()
	require.NoError(t, err)
	from, err := shared.templates.empty(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	return newDB(t, server, from)
}

// On installs Daymill in a new database of a test's own cluster. The database goes with the cluster.
func On(t testing.TB, server *pgserver.Server, installed Installed) *DB {
	t.Helper()
	name := newName()
	require.NoError(t, createEmpty(t.Context(), server, name))
	require.NoError(t, install(t.Context(), server.URL(name), installed))
	return openDB(t, server, name).installation(t)
}

// newDB copies a template.
func newDB(t testing.TB, server *pgserver.Server, from string) *DB {
	t.Helper()
	name := newName()
	require.NoError(t, create(t.Context(), server, name, from))
	t.Cleanup(func() { require.NoError(t, drop(context.WithoutCancel(t.Context()), server, name)) })
	return openDB(t, server, name)
}

func openDB(t testing.TB, server *pgserver.Server, name string) *DB {
	t.Helper()
	url := server.URL(name)
	db, err := open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return &DB{DB: db, Name: name, URL: url, Server: server}
}

func (db *DB) installation(t testing.TB) *DB {
	t.Helper()
	var err error
	db.Installation, err = schema.Get(t.Context(), db.DB)
	require.NoError(t, err)
	return db
}

// open is patient: a test's recount of half a million events on a busy machine is no mistake.
func open(ctx context.Context, url string) (*postgres.DB, error) {
	db, err := postgres.Open(ctx, postgres.Config{
		URL: url, ApplicationName: "pgtest", StatementTimeout: time.Minute, LockTimeout: time.Minute,
	})
	if err != nil {
		return nil, errors.Join(errors.New("open the test's database"), err)
	}
	return db, nil
}

//nolint:gochecknoglobals // Names are unique within the process, as its cluster is.
var lastName atomic.Int64

func newName() string { return fmt.Sprintf("test_%d", lastName.Add(1)) }
