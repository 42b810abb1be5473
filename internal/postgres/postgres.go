// Package postgres opens the pools and sessions through which Daymill talks to Postgres.
//
// Every connection has an application_name, a statement_timeout, a lock_timeout, and planner settings for short, regular
// statements. A pooler in transaction mode, such as PgBouncer, refuses startup parameters, and a session's settings would
// leak to its other clients. So behind a pooler each transaction makes the settings for itself, prepared statements are not
// used, and LISTEN is not available. [DB.Pooled] reports which of the two applies.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Defaults of Config.
const (
	DefaultStatementTimeout = 5 * time.Second
	DefaultLockTimeout      = 2 * time.Second
	DefaultPoolSize         = 6

	connectTimeout = 5 * time.Second
)

// SearchPath is the search_path of every connection and every transaction.
const SearchPath = "pg_catalog, pg_temp"

// Pooler says what is between Daymill and Postgres.
type Pooler string

// The poolers that Config knows. Auto finds out by asking the server.
const (
	PoolerAuto        Pooler = "auto"
	PoolerNone        Pooler = "none"
	PoolerTransaction Pooler = "transaction"
)

// Config says where the database is and how to use it. Only URL has no default.
type Config struct {
	URL              string
	ApplicationName  string        // shown in pg_stat_activity; "daymill" if empty
	PoolSize         int           // maximum of connections; DefaultPoolSize if 0
	Pooler           Pooler        // PoolerAuto if empty
	StatementTimeout time.Duration // DefaultStatementTimeout if 0
	LockTimeout      time.Duration // DefaultLockTimeout if 0
	LockPatience     time.Duration // how long patient sessions wait for locks; DefaultLockPatience if 0
	// Tracer traces statements; may be nil.
	Tracer pgx.QueryTracer
}

// DB is an open pool.
type DB struct {
	*pgxpool.Pool

	pooled       bool
	lockPatience time.Duration
	settings     map[string]string
}

// Pooled reports whether there is a pooler in transaction mode: no LISTEN, no session settings, no session locks.
func (db *DB) Pooled() bool { return db.pooled }

// Open connects, detects a pooler, and returns the pool. Its errors name the host and the cause, never the password.
func Open(ctx context.Context, config Config) (*DB, error) {
	if config.URL == "" {
		return nil, ErrNoURL
	}
	poolConfig, err := parse(config.URL)
	if err != nil {
		return nil, err
	}
	connConfig := poolConfig.ConnConfig
	if connConfig.ConnectTimeout == 0 {
		connConfig.ConnectTimeout = connectTimeout
	}
	if _, has := connConfig.RuntimeParams["application_name"]; !has {
		connConfig.RuntimeParams["application_name"] = cmp.Or(config.ApplicationName, "daymill")
	}
	connConfig.Tracer = config.Tracer
	measured(connConfig)
	closes := connConfig.OnPgError
	connConfig.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		// A server that became read-only was demoted: a new connection may reach the new primary.
		return err.Code != pgerrcode.ReadOnlySQLTransaction && closes(conn, err)
	}
	poolConfig.MaxConns = int32(cmp.Or(config.PoolSize, DefaultPoolSize)) //nolint:gosec // A validated option.
	poolConfig.MaxConnIdleTime = 5 * time.Minute

	db := &DB{settings: config.settings(), lockPatience: cmp.Or(config.LockPatience, DefaultLockPatience)}
	db.pooled, err = db.detect(ctx, connConfig.Copy(), config.Pooler)
	if err != nil {
		return nil, err
	}
	if db.pooled {
		connConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		connConfig.StatementCacheCapacity = 0
	} else {
		poolConfig.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			// The pool's context has no deadline.
			ctx, cancel := context.WithTimeout(ctx, connConfig.ConnectTimeout)
			defer cancel()
			return set(ctx, conn, db.settings)
		}
		poolConfig.AfterRelease = steady
	}

	db.Pool, err = pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, connectError(connConfig, err)
	}
	return db, nil
}

// detect compares the process id that the server announced when the connection started with the id of the process that
// answers: a pooler makes up the former.
func (db *DB) detect(ctx context.Context, config *pgx.ConnConfig, pooler Pooler) (bool, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, connectError(config, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := checkServer(ctx, conn); err != nil {
		return false, err
	}
	pid, err := known(ctx, conn, db.settings)
	if err != nil {
		return false, connectError(config, err)
	}
	if pooler == PoolerNone || pooler == PoolerTransaction {
		return pooler == PoolerTransaction, nil
	}
	return pid != strconv.FormatUint(uint64(conn.PgConn().PID()), 10), nil
}

// Tx runs do in a transaction with Daymill's settings, with or without a pooler, and commits it unless do returns an error.
func (db *DB) Tx(ctx context.Context, do func(tx pgx.Tx) error) error {
	return db.tx(ctx, readWrite, do)
}

// ReadTx runs do in a read-only transaction, which a follower also allows.
func (db *DB) ReadTx(ctx context.Context, do func(tx pgx.Tx) error) error {
	return db.tx(ctx, readOnly, do)
}

// Read runs do, which must not write, with Daymill's settings. Without a pooler it needs no transaction and begins none.
func (db *DB) Read(ctx context.Context, do func(on DBTX) error) error {
	if !db.pooled {
		return do(db.Pool)
	}
	return db.tx(ctx, readOnly, func(tx pgx.Tx) error { return do(tx) })
}

func (db *DB) tx(ctx context.Context, begin string, do func(tx pgx.Tx) error) error {
	if db.pooled {
		begin += assign(db.settings, true)
	}
	return pgx.BeginTxFunc(ctx, db.Pool, pgx.TxOptions{BeginQuery: begin}, do)
}

// ErrStandby says that the database accepts no writes.
var ErrStandby = errors.New("the database is a standby, which accepts no writes: set --database-url to the URL of the primary, " +
	"and --source-url to the URL of the standby if events should be read from it")

// CheckWritable returns ErrStandby if the database accepts no writes.
func (db *DB) CheckWritable(ctx context.Context) error {
	standby := false
	err := db.Read(ctx, func(on DBTX) error {
		return on.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery()").Scan(&standby)
	})
	if err != nil {
		return fmt.Errorf("check whether the database accepts writes: %w", err)
	}
	if standby {
		return ErrStandby
	}
	return nil
}

// How transactions begin, whatever the database's defaults are.
const (
	readWrite = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
	readOnly  = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;"
)

// DBTX runs statements: it is a connection in autocommit mode, or a transaction.
type DBTX interface {
	execer
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, from pgx.CopyFromSource) (int64, error)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

func address(config *pgx.ConnConfig) string {
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
}

// ErrNoURL and ErrConnect mean that there is no database to work on.
var (
	ErrNoURL   = errors.New("no database is given: set DATABASE_URL or --database-url")
	ErrConnect = errors.New("the database cannot be reached")
)
