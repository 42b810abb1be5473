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
	"fmt"
	"maps"
	"net"
	"strconv"
	"time"

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
	poolConfig, err := pgxpool.ParseConfig(config.URL)
	if err != nil {
		return nil, ErrURL
	}
	connConfig := poolConfig.ConnConfig
	if connConfig.ConnectTimeout == 0 || connConfig.ConnectTimeout > 2*connectTimeout {
		connConfig.ConnectTimeout = connectTimeout
	}
	if _, has := connConfig.RuntimeParams["application_name"]; !has {
		connConfig.RuntimeParams["application_name"] = orDefault(config.ApplicationName, "daymill")
	}
	connConfig.Tracer = config.Tracer
	poolConfig.MaxConns = int32(orDefault(config.PoolSize, DefaultPoolSize)) //nolint:gosec // An option, validated.
	poolConfig.MaxConnIdleTime = 5 * time.Minute

	db := &DB{settings: map[string]string{
		"statement_timeout":                   milliseconds(orDefault(config.StatementTimeout, DefaultStatementTimeout)),
		"lock_timeout":                        milliseconds(orDefault(config.LockTimeout, DefaultLockTimeout)),
		"idle_in_transaction_session_timeout": milliseconds(time.Minute),
		// Names are qualified, and what is not is Postgres's own: nobody else's function or operator is ever taken for one.
		"search_path": SearchPath,
		// A slice's plan depends on its bounds and is cheap to make; compiling it or spreading it over more
		// processes costs the application more than it saves.
		"plan_cache_mode":                 "force_custom_plan",
		"jit":                             "off",
		"max_parallel_workers_per_gather": "0",
	}}

	db.pooled, err = db.detect(ctx, connConfig.Copy(), config.Pooler)
	if err != nil {
		return nil, err
	}
	if db.pooled {
		connConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		connConfig.StatementCacheCapacity = 0
	} else {
		poolConfig.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			return set(ctx, conn, false, db.settings)
		}
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
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, connectError(config, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if pooler == PoolerNone || pooler == PoolerTransaction {
		return pooler == PoolerTransaction, nil
	}
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return false, connectError(config, err)
	}
	return pid != conn.PgConn().PID(), nil
}

// execer is what a connection and a transaction have in common here.
type execer interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
}

// set makes settings in one statement, for the transaction where local, else for the session.
func set(ctx context.Context, on execer, local bool, settings map[string]string) error {
	names, values := make([]string, 0, len(settings)), make([]string, 0, len(settings))
	for name, value := range settings {
		names, values = append(names, name), append(values, value)
	}
	_, err := on.Exec(ctx, `SELECT pg_catalog.set_config(s.name, s.value, $3) FROM unnest($1::text[], $2::text[]) AS s (name, value)`,
		names, values, local)
	if err != nil {
		return fmt.Errorf("make settings: %w", err)
	}
	return nil
}

// Tx runs do in a transaction that carries Daymill's settings whatever is in between, and commits it unless do returns
// an error.
func (db *DB) Tx(ctx context.Context, do func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, db.Pool, func(tx pgx.Tx) error {
		if db.pooled {
			if err := set(ctx, tx, true, db.settings); err != nil {
				return err
			}
		}
		return do(tx)
	})
}

// Read runs do, whose statements write nothing, with Daymill's settings whatever is in between. Without a pooler that needs
// no transaction, and none is begun.
func (db *DB) Read(ctx context.Context, do func(on DBTX) error) error {
	if !db.pooled {
		return do(db.Pool)
	}
	return db.Tx(ctx, func(tx pgx.Tx) error { return do(tx) })
}

// Session is one connection held for a run: its statements get a time limit of their own choosing.
type Session struct {
	db      *DB
	conn    *pgxpool.Conn
	timeout time.Duration // the session's statement_timeout; 0 where it has not been changed
	busy    bool          // see Busy
}

// Session takes a connection from the pool. Release gives it back.
func (db *DB) Session(ctx context.Context) (*Session, error) {
	conn, err := db.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a connection: %w", err)
	}
	return &Session{db: db, conn: conn}, nil
}

// Release gives the connection back to the pool as it was.
func (s *Session) Release(ctx context.Context) {
	if s.timeout != 0 {
		if err := set(ctx, s.conn, false, s.db.settings); err != nil {
			_ = s.conn.Conn().Close(ctx) // The pool drops a closed connection, and with it the setting.
		}
	}
	s.conn.Release()
}

// DBTX is what statements are sent to: a connection in autocommit, or a transaction.
type DBTX interface {
	execer
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, from pgx.CopyFromSource) (int64, error)
}

// Read runs do, whose statements write nothing, under a statement_timeout.
func (s *Session) Read(ctx context.Context, timeout time.Duration, do func(on DBTX) error) error {
	if s.db.pooled {
		return s.Tx(ctx, timeout, do)
	}
	if err := s.limit(ctx, timeout); err != nil {
		return err
	}
	return do(s.conn)
}

// Tx runs do in a transaction whose statements are under a statement_timeout, and commits it unless do returns an
// error.
func (s *Session) Tx(ctx context.Context, timeout time.Duration, do func(on DBTX) error) error {
	if !s.db.pooled {
		if err := s.limit(ctx, timeout); err != nil {
			return err
		}
	}
	return pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		if s.db.pooled {
			settings := maps.Clone(s.db.settings)
			maps.Copy(settings, sessionSettings(timeout))
			if err := set(ctx, tx, true, settings); err != nil {
				return err
			}
		}
		return do(tx)
	})
}

// sessionIdle is how long a session's transaction may be idle before Postgres ends it: a process that stands still, on a
// machine that does, must have let go of its locks by the time that another takes its work over.
const sessionIdle = 10 * time.Second

func sessionSettings(timeout time.Duration) map[string]string {
	return map[string]string{
		"statement_timeout":                   milliseconds(timeout),
		"idle_in_transaction_session_timeout": milliseconds(sessionIdle),
	}
}

func (s *Session) limit(ctx context.Context, timeout time.Duration) error {
	if s.timeout == timeout {
		return nil
	}
	if err := set(ctx, s.conn, false, sessionSettings(timeout)); err != nil {
		return err
	}
	s.timeout = timeout
	return nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

func orDefault[T comparable](value, byDefault T) T {
	var zero T
	if value == zero {
		return byDefault
	}
	return value
}

// Host is the host and port a URL leads to, for messages; empty where the URL cannot be read.
func Host(url string) string {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return ""
	}
	return address(config)
}

func address(config *pgx.ConnConfig) string {
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
}

// ErrNoURL and ErrConnect say that there is no database to work on.
var (
	ErrNoURL   = errors.New("no database is given: set DATABASE_URL or --database-url")
	ErrConnect = errors.New("the database cannot be reached")
)
