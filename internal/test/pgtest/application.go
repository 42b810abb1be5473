package pgtest

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
)

// application is the pool for a test's own statements, which are an application's, with its search_path and settings. The tested code uses
// postgres.DB, which pins them.
type application struct {
	url  string
	most int32
	once sync.Once
	pool *pgxpool.Pool
	err  error
}

func (a *application) open(ctx context.Context) (*pgxpool.Pool, error) {
	a.once.Do(func() {
		config, err := pgxpool.ParseConfig(a.url)
		if err == nil {
			config.ConnConfig.RuntimeParams["application_name"] = "application"
			// A test may set it for the database. Its own sessions, which may be idle for longer, would end.
			config.ConnConfig.RuntimeParams["idle_session_timeout"] = "0"
			config.MaxConns = a.most
			a.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
		}
		a.err = err
	})
	return a.pool, a.err
}

func (a *application) close() {
	if a.pool != nil {
		a.pool.Close()
	}
}

// As returns a database that a test has opened itself, with an application pool of most connections or fewer.
func As(tb testing.TB, server *pgserver.Server, name, url string, conn *postgres.DB, most int32) *DB {
	tb.Helper()
	app := &application{url: url, most: most}
	tb.Cleanup(app.close)
	return &DB{DB: conn, Name: name, URL: url, Server: server, application: app}
}

// Application returns the application's pool, for the application's clients.
func (db *DB) Application(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	pool, err := db.application.open(tb.Context())
	require.NoError(tb, err)
	return pool
}

// Acquire acquires a connection of the application.
func (db *DB) Acquire(ctx context.Context) (*pgxpool.Conn, error) {
	pool, err := db.application.open(ctx)
	if err != nil {
		return nil, err
	}
	return pool.Acquire(ctx)
}

// Begin begins a transaction of the application.
func (db *DB) Begin(ctx context.Context) (pgx.Tx, error) {
	pool, err := db.application.open(ctx)
	if err != nil {
		return nil, err
	}
	return pool.Begin(ctx)
}

// Exec runs a statement of the application.
func (db *DB) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	pool, err := db.application.open(ctx)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	return pool.Exec(ctx, sql, arguments...)
}

// Query runs a query of the application.
func (db *DB) Query(ctx context.Context, sql string, arguments ...any) (pgx.Rows, error) {
	pool, err := db.application.open(ctx)
	if err != nil {
		return nil, err
	}
	return pool.Query(ctx, sql, arguments...)
}

// QueryRow runs a query of the application for one row.
func (db *DB) QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row {
	pool, err := db.application.open(ctx)
	if err != nil {
		return failed{err}
	}
	return pool.QueryRow(ctx, sql, arguments...)
}

// failed is the row of a query that could not run.
type failed struct{ err error }

// Scan returns the error.
func (f failed) Scan(...any) error { return f.err }

// Reset closes all connections, including the application's, after the server was stopped.
func (db *DB) Reset() {
	db.DB.Reset()
	if db.application.pool != nil {
		db.application.pool.Reset()
	}
}
