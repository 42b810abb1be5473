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

// DB is a test's own database, which is dropped when the test ends.
type DB struct {
	*postgres.DB // open until the test ends, as the superuser

	Name         string
	URL          string
	Server       *pgserver.Server
	Installation schema.Installation // zero if nothing is installed

	application *application
}

// Database returns a database in which Daymill is installed, without a source.
func Database(tb testing.TB, installed Installed) *DB {
	tb.Helper()
	server, err := shared.start()
	require.NoError(tb, err)
	from, err := shared.templates.installed(context.WithoutCancel(tb.Context()), installed)
	require.NoError(tb, err)
	return newDB(tb, server, from).installation(tb)
}

// Empty returns a database in which nothing is installed.
func Empty(tb testing.TB) *DB {
	tb.Helper()
	server, err := shared.start()
	require.NoError(tb, err)
	from, err := shared.templates.empty(context.WithoutCancel(tb.Context()))
	require.NoError(tb, err)
	return newDB(tb, server, from)
}

// On installs Daymill in a new database of a test's own cluster. The database is removed with the cluster.
func On(tb testing.TB, server *pgserver.Server, installed Installed) *DB {
	tb.Helper()
	name := newName()
	require.NoError(tb, createEmpty(tb.Context(), server, name))
	require.NoError(tb, install(tb.Context(), server.URL(name), installed))
	return openDB(tb, server, name).installation(tb)
}

// newDB copies a template.
func newDB(tb testing.TB, server *pgserver.Server, from string) *DB {
	tb.Helper()
	name := newName()
	require.NoError(tb, create(tb.Context(), server, name, from))
	tb.Cleanup(func() { require.NoError(tb, drop(context.WithoutCancel(tb.Context()), server, name)) })
	return openDB(tb, server, name)
}

func openDB(tb testing.TB, server *pgserver.Server, name string) *DB {
	tb.Helper()
	url := server.URL(name)
	db, err := open(tb.Context(), url)
	require.NoError(tb, err)
	tb.Cleanup(db.Close)
	return As(tb, server, name, url, db, postgres.DefaultPoolSize)
}

func (db *DB) installation(tb testing.TB) *DB {
	tb.Helper()
	var err error
	db.Installation, err = schema.Get(tb.Context(), db.DB)
	require.NoError(tb, err)
	return db
}

// open uses long timeouts, because a test may recount half a million events on a busy machine.
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
