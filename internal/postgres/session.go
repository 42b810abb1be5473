package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// sessionIdle is how long a session's transaction may be idle before Postgres ends it. If a process or its machine
	// freezes, its locks must be released before another process takes over its work.
	sessionIdle = 10 * time.Second
	// patience is how long beyond its limit a patient session waits for a statement. After that, Postgres or the network is
	// considered lost.
	patience = 10 * time.Second
)

// Session is one connection held for a run. Each statement has its own time limit on the server. While a statement waits for
// a lock, it gets half of that, and at most two seconds.
//
// A patient session (see [Session.Patient]) does not fail because somebody holds a lock for a moment or because the
// connection is cut: it tries again, on another connection if necessary.
type Session struct {
	db    *DB
	conn  *pgxpool.Conn // nil if there is none
	limit time.Duration // of the connection's statements; 0 if unchanged
	busy  bool          // see Busy

	patient bool
	between func(ctx context.Context) error
	waiting bool         // between is running
	looking bool         // for who holds a lock
	pid     atomic.Int32 // of the server process
	xid     string       // of the last transaction; empty if it wrote nothing

	waited time.Duration // see Waited; without the round trips of the current connection
	trips  time.Duration // of the current connection before the session got it
}

// Session takes a connection from the pool. Release returns it.
func (db *DB) Session(ctx context.Context) (*Session, error) {
	s := &Session{db: db}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Session) connect(ctx context.Context) error {
	conn, err := s.db.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("take a connection: %w", s.db.lost(err))
	}
	s.conn, s.limit = conn, 0
	s.pid.Store(int32(conn.Conn().PgConn().PID())) //nolint:gosec // A process id. Behind a pooler, each transaction sets it.
	s.trips = wireOf(conn.Conn().PgConn()).Waited()
	return nil
}

// drop closes a connection that cannot be used any more.
func (s *Session) drop(ctx context.Context) {
	if s.conn == nil {
		return
	}
	s.waited += wireOf(s.conn.Conn().PgConn()).Waited() - s.trips
	_ = s.conn.Conn().Close(ctx) // The pool drops a closed connection.
	s.conn.Release()
	s.conn, s.busy = nil, false
}

// Release returns the connection to the pool with its original settings.
func (s *Session) Release(ctx context.Context) {
	if s.conn == nil {
		return
	}
	if s.limit != 0 {
		if err := set(ctx, s.conn, s.db.settings); err != nil {
			_ = s.conn.Conn().Close(ctx) // The pool drops a closed connection, and with it the setting.
		}
	}
	s.conn.Release()
	s.conn = nil
}

// Waited returns how long the session has spent so far on round trips, locks and lost connections. The rest of its
// statements' time is the server's work.
func (s *Session) Waited() time.Duration {
	if s.conn == nil {
		return s.waited
	}
	return s.waited + wireOf(s.conn.Conn().PgConn()).Waited() - s.trips
}

// RoundTrip returns the time of one round trip to the server; 0 if it is not known.
func (s *Session) RoundTrip() time.Duration {
	if s.conn == nil {
		return 0
	}
	return wireOf(s.conn.Conn().PgConn()).RoundTrip()
}

// Busy reports whether a cursor is open on the session: other statements then need another connection.
func (s *Session) Busy() bool { return s.busy }

// Read runs do, which must not write, under a statement_timeout. A patient session may call it more than once.
func (s *Session) Read(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	return s.send(ctx, limit, func(ctx context.Context, limit time.Duration) error {
		if s.db.pooled {
			return s.transaction(ctx, readOnly, s.settings(limit), do)
		}
		if s.limit != limit {
			if err := set(ctx, s.conn, sessionSettings(limit)); err != nil {
				return &ownError{err}
			}
			s.limit = limit
		}
		return do(ctx, s.conn)
	})
}

// Look is Read for lookups in an index: the planner will not choose a sequential scan because statistics are old or missing.
func (s *Session) Look(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	return s.send(ctx, limit, func(ctx context.Context, limit time.Duration) error {
		settings := s.settings(limit)
		settings["enable_seqscan"] = "off"
		return s.transaction(ctx, readOnly, settings, do)
	})
}

// Walk is Look for reads of a few rows in the order of an index. With statistics that are old or missing, Postgres would read
// and sort all rows that follow, for each read.
func (s *Session) Walk(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	return s.send(ctx, limit, func(ctx context.Context, limit time.Duration) error {
		settings := s.settings(limit)
		maps.Copy(settings, walking())
		return s.transaction(ctx, readOnly, settings, do)
	})
}

// Tx runs do in a transaction whose statements have a statement_timeout, and commits it unless do returns an error. A patient
// session may call do more than once, but not again after a commit, even if the connection was cut before the answer arrived.
func (s *Session) Tx(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	return s.write(ctx, limit, nil, do)
}

// Lazy is Tx without waiting until the commit is on disk: a crash of Postgres within the next second may undo it, with everything that was
// committed after it. It is for what a crash only repeats. A later commit that waits makes this one last, too. Postgres plans its statements once for
// each connection, if that is as good: see planned.
func (s *Session) Lazy(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	return s.write(ctx, limit, planned(Local{"synchronous_commit": "off"}), do)
}

// Small is Tx for a few rows that indexes find: as in [Session.Walk], statistics that are old or missing do not matter. Postgres plans its statements
// as those of Lazy.
func (s *Session) Small(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	return s.write(ctx, limit, planned(walking()), do)
}

// Keyed is Tx for rows of several keys, each of which an index finds: statistics that are old or missing do not make the planner choose a sequential
// scan. Postgres plans its statements as those of Lazy.
func (s *Session) Keyed(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	return s.write(ctx, limit, planned(Local{"enable_seqscan": "off"}), do)
}

func (s *Session) write(ctx context.Context, limit time.Duration, more Local, do func(ctx context.Context, on DBTX) error) error {
	return s.send(ctx, limit, func(ctx context.Context, limit time.Duration) error {
		settings := s.settings(limit)
		maps.Copy(settings, more)
		return s.transaction(ctx, readWrite, settings, do)
	})
}

// walking returns the settings with which Postgres reads rows in the order of an index.
func walking() Local {
	return Local{"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_sort": "off"}
}

// planned adds the setting with which Postgres keeps the plan of a statement if it is not worse than plans for each value. Statements that find rows by
// a key then take half of the time.
func planned(settings Local) Local {
	settings["plan_cache_mode"] = "auto"
	return settings
}

// settings returns the settings of a transaction. Without a pooler the connection already has the others.
func (s *Session) settings(limit time.Duration) map[string]string {
	settings := sessionSettings(limit)
	if s.db.pooled {
		for name, value := range s.db.settings {
			if _, has := settings[name]; !has {
				settings[name] = value
			}
		}
	}
	return settings
}

func sessionSettings(limit time.Duration) map[string]string {
	return map[string]string{
		"statement_timeout":                   milliseconds(limit),
		"lock_timeout":                        milliseconds(lockLimit(limit)),
		"idle_in_transaction_session_timeout": milliseconds(sessionIdle),
	}
}

func lockLimit(limit time.Duration) time.Duration { return min(limit/2, DefaultLockTimeout) }

// transaction runs do in a transaction with settings of its own, which begins with the first statement.
func (s *Session) transaction(
	ctx context.Context, begin string, settings map[string]string, do func(ctx context.Context, on DBTX) error,
) (err error) {
	s.xid = ""
	s.rollback(ctx) // What an earlier transaction left open, if anything.
	on := &opening{conn: s.conn.Conn(), session: s, begin: begin, settings: settings}
	if s.looking { // It needs the id of the server process before the first statement waits.
		if err := on.now(ctx); err != nil {
			s.rollback(ctx)
			return err
		}
	}
	done := false
	defer func() {
		if !done { // Also if do panics.
			s.rollback(ctx)
		}
	}()
	if err := do(ctx, on); err != nil {
		return err
	}
	if !on.open {
		return nil
	}
	tag, err := s.conn.Exec(ctx, "COMMIT")
	done = true
	switch {
	case err != nil && s.conn.Conn().IsClosed():
		return &cutError{xid: s.xid, err: err}
	case err != nil:
		return &ownError{fmt.Errorf("commit: %w", err)}
	case tag.String() == "ROLLBACK":
		return pgx.ErrTxCommitRollback
	}
	return nil
}

func (s *Session) rollback(ctx context.Context) {
	if s.conn.Conn().IsClosed() || s.conn.Conn().PgConn().TxStatus() == 'I' {
		return
	}
	if _, err := s.conn.Exec(ctx, "ROLLBACK"); err != nil {
		_ = s.conn.Conn().Close(ctx) // Closing it rolls back the transaction.
	}
}

// ownError means that a statement of the session's own failed: what comes before the caller's statements, or the COMMIT.
type ownError struct{ error }

// Unwrap returns the cause.
func (e *ownError) Unwrap() error { return e.error }

// cutError means that a connection was cut before a COMMIT was answered.
type cutError struct {
	xid string
	err error
}

func (e *cutError) Error() string { return "commit: " + e.err.Error() }

func (e *cutError) Unwrap() error { return e.err }

// IsCut reports whether an error means that the connection is lost, whatever the cause.
func IsCut(err error) bool {
	code := Code(err)
	if code == "" {
		return err != nil && (IsUnreachable(err) || pgconn.Timeout(err) || errors.Is(err, pgconn.ErrConnClosed))
	}
	return pgerrcode.IsConnectionException(code) || code == pgerrcode.ReadOnlySQLTransaction ||
		code == pgerrcode.IdleInTransactionSessionTimeout || code == pgerrcode.ProtocolViolation ||
		pgerrcode.IsOperatorIntervention(code) && code != pgerrcode.QueryCanceled
}
