// Package postgres opens the pools and sessions that Daymill talks to Postgres through.
//
// Every connection carries an application_name, a statement_timeout and a lock_timeout, and the planner settings that
// short, regular statements want. Behind a pooler in transaction mode (PgBouncer and its kin) a setting of the session
// would leak to strangers and startup parameters are refused, so there the settings are made inside each transaction,
// prepared statements are not used, and nobody listens: [DB.Pooled] says which of the two it is.
package postgres

import (
	"context"
	"errors"
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

// SearchPath is where names that are not qualified are looked up, on every connection and in every transaction.
const SearchPath = "pg_catalog, pg_temp"

// Pooler says what stands between Daymill and Postgres.
type Pooler string

// The poolers that Config knows. Auto asks the server.
const (
	PoolerAuto        Pooler = "auto"
	PoolerNone        Pooler = "none"
	PoolerTransaction Pooler = "transaction"
)

// Config says where the database is and how to treat it. Only URL has no default.
type Config struct {
	URL              string
	ApplicationName  string        // shown in pg_stat_activity; "daymill" where empty
	PoolSize         int           // the most connections at a time; DefaultPoolSize where 0
	Pooler           Pooler        // PoolerAuto where empty
	StatementTimeout time.Duration // DefaultStatementTimeout where 0
	LockTimeout      time.Duration // DefaultLockTimeout where 0
	// Tracer is told of statements; there may be none.
	Tracer pgx.QueryTracer
}

// DB is an open pool.
type DB struct {
	*pgxpool.Pool

	pooled   bool
	settings map[string]string
}

// Pooled reports whether a pooler in transaction mode is in between: no LISTEN, no session settings, no session locks.
func (db *DB) Pooled() bool { return db.pooled }

// Open connects, finds out about the pooler, and returns the pool. Errors name the host and the cause, never the
// password.
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
		connConfig.RuntimeParams["application_name"] = orDefault(config.ApplicationName, "daymill")
	}
	connConfig.Tracer = config.Tracer
	measured(connConfig)
	closes := connConfig.OnPgError
	connConfig.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		// A server that takes no writes any more was demoted: other connections may lead to the one that does.
		return err.Code != pgerrcode.ReadOnlySQLTransaction && closes(conn, err)
	}
	poolConfig.MaxConns = int32(orDefault(config.PoolSize, DefaultPoolSize)) //nolint:gosec // An option, validated.
	poolConfig.MaxConnIdleTime = 5 * time.Minute

	db := &DB{settings: config.settings()}
	db.pooled, err = db.detect(ctx, connConfig.Copy(), config.Pooler)
	if err != nil {
		return nil, err
	}
	if db.pooled {
		connConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		connConfig.StatementCacheCapacity = 0
	} else {
		poolConfig.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error { return set(ctx, conn, db.settings) }
		poolConfig.AfterRelease = steady
	}

	db.Pool, err = pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, connectError(connConfig, err)
	}
	return db, nil
}

// detect compares the process id that the server announced at the connection's start with that of the process which
// answers: a pooler makes up the former.
func (db *DB) detect(ctx context.Context, config *pgx.ConnConfig, pooler Pooler) (bool, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, connectError(config, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := checkEncoding(ctx, conn); err != nil {
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

// Tx runs do in a transaction that carries Daymill's settings whatever is in between, and commits it unless do returns
// an error.
func (db *DB) Tx(ctx context.Context, do func(tx pgx.Tx) error) error {
	return db.tx(ctx, readWrite, do)
}

// ReadTx runs do in a read-only transaction, which a follower allows as well.
func (db *DB) ReadTx(ctx context.Context, do func(tx pgx.Tx) error) error {
	return db.tx(ctx, readOnly, do)
}

// Read runs do, whose statements write nothing, with Daymill's settings whatever is in between. Without a pooler that needs
// no transaction, and none is begun.
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

// How transactions begin, whatever the database's defaults are.
const (
	readWrite = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
	readOnly  = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;"
)

// DBTX is what statements are sent to: a connection in autocommit, or a transaction.
type DBTX interface {
	execer
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, from pgx.CopyFromSource) (int64, error)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

func orDefault[T comparable](value, byDefault T) T {
	var zero T
	if value == zero {
		return byDefault
	}
	return value
}

func address(config *pgx.ConnConfig) string {
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
}

// ErrNoURL and ErrConnect say that there is no database to work on.
var (
	ErrNoURL   = errors.New("no database is given: set DATABASE_URL or --database-url")
	ErrConnect = errors.New("the database cannot be reached")
)
