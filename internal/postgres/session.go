package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// sessionIdle is how long a session's transaction may be idle before Postgres ends it: a process that stands still, on a
	// machine that does, must have let go of its locks by the time that another takes its work over.
	sessionIdle = 10 * time.Second
	// patience is how long beyond its limit a patient session waits for a statement: Postgres, or the network, is gone.
	patience = 10 * time.Second
)

// Session is one connection held for a run: each of its statements gets a time limit of its own, on the server. While a
// statement waits for a lock it gets half of that, two seconds at most.
//
// A session that is patient, see [Session.Patient], does not fail because somebody holds a lock for a moment or because the
// connection is cut: it tries again, on another connection if need be.
type Session struct {
	db    *DB
	conn  *pgxpool.Conn // nil while there is none
	limit time.Duration // of the connection's statements; 0 where it was not changed
	busy  bool          // see Busy

	patient bool
	between func(ctx context.Context) error
	waiting bool         // between is under way
	pid     atomic.Int32 // of the server process that serves
	xid     string       // of the last transaction; empty where it writes nothing

	waited time.Duration // see Waited; without the round trips of the connection at hand
	trips  time.Duration // of the connection at hand before the session had it
}

// Session takes a connection from the pool. Release gives it back.
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
		return fmt.Errorf("take a connection: %w", err)
	}
	s.conn, s.limit = conn, 0
	s.pid.Store(int32(conn.Conn().PgConn().PID())) //nolint:gosec // A process id. Behind a pooler, each transaction tells it.
	s.trips = wireOf(conn.Conn().PgConn()).Waited()
	return nil
}

// drop gives up a connection that is of no use any more.
func (s *Session) drop(ctx context.Context) {
	if s.conn == nil {
		return
	}
	s.waited += wireOf(s.conn.Conn().PgConn()).Waited() - s.trips
	_ = s.conn.Conn().Close(ctx) // The pool drops a closed connection.
	s.conn.Release()
	s.conn, s.busy = nil, false
}

// Release gives the connection back to the pool as it was.
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

// Waited is how long the session has spent so far on round trips, on locks and on connections that were cut: what its
// statements took beyond that is what the server needed.
func (s *Session) Waited() time.Duration {
	if s.conn == nil {
		return s.waited
	}
	return s.waited + wireOf(s.conn.Conn().PgConn()).Waited() - s.trips
}

// Busy reports whether a cursor is open on the session: whatever else is to be sent needs another connection.
func (s *Session) Busy() bool { return s.busy }

// Read runs do, whose statements write nothing, under a statement_timeout. A patient session may run it more than once.
func (s *Session) Read(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	return s.send(ctx, limit, func(ctx context.Context, limit time.Duration) error {
		if s.db.pooled {
			return s.transaction(ctx, readOnly, s.settings(limit), do)
		}
		if s.limit != limit {
			if err := set(ctx, s.conn, sessionSettings(limit)); err != nil {
				return err
			}
			s.limit = limit
		}
		return do(ctx, s.conn)
	})
}

// Look is Read for looks into an index: statistics that are old or missing do not make a reading of the whole table of
// it.
func (s *Session) Look(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	return s.send(ctx, limit, func(ctx context.Context, limit time.Duration) error {
		settings := s.settings(limit)
		settings["enable_seqscan"] = "off"
		return s.transaction(ctx, readOnly, settings, do)
	})
}

// Tx runs do in a transaction whose statements are under a statement_timeout, and commits it unless do returns an error.
// A patient session may run do more than once; what was committed although the connection was cut is not done again.
func (s *Session) Tx(ctx context.Context, limit time.Duration, do func(ctx context.Context, on DBTX) error) error {
	return s.send(ctx, limit, func(ctx context.Context, limit time.Duration) error {
		return s.transaction(ctx, readWrite, s.settings(limit), do)
	})
}

// settings are those of a transaction. Without a pooler the connection has the others.
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

// transaction begins, makes settings and asks who serves, in one round trip.
func (s *Session) transaction(
	ctx context.Context, begin string, settings map[string]string, do func(ctx context.Context, on DBTX) error,
) (err error) {
	s.xid = ""
	s.rollback(ctx) // What an earlier transaction left open, if anything.
	ask := "; SELECT pg_catalog.pg_backend_pid(), NULL"
	if begin == readWrite {
		ask = "; SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_current_xact_id()"
	}
	answers, err := s.conn.Conn().PgConn().Exec(ctx, begin+assign(settings, true)+ask).ReadAll()
	if err != nil {
		s.rollback(ctx)
		return fmt.Errorf("begin: %w", err)
	}
	if row := answers[len(answers)-1].Rows; len(row) == 1 {
		pid, _ := strconv.ParseInt(string(row[0][0]), 10, 32) // It is a number, and only for a message.
		s.pid.Store(int32(pid))
		s.xid = string(row[0][1])
	}
	done := false
	defer func() {
		if !done { // Also where do panics.
			s.rollback(ctx)
		}
	}()
	if err := do(ctx, s.conn); err != nil {
		return err
	}
	tag, err := s.conn.Exec(ctx, "COMMIT")
	done = true
	switch {
	case err != nil && s.conn.Conn().IsClosed():
		return &cutError{xid: s.xid, err: err}
	case err != nil:
		return fmt.Errorf("commit: %w", err)
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
		_ = s.conn.Conn().Close(ctx) // With it, the transaction goes.
	}
}

// cutError says that a connection was cut before the answer to a COMMIT had come.
type cutError struct {
	xid string
	err error
}

func (e *cutError) Error() string { return "commit: " + e.err.Error() }

func (e *cutError) Unwrap() error { return e.err }

// IsCut reports whether an error says that the connection is gone, whatever cut it.
func IsCut(err error) bool {
	code := Code(err)
	if code == "" {
		return err != nil && (IsUnreachable(err) || pgconn.Timeout(err) || errors.Is(err, pgconn.ErrConnClosed))
	}
	return pgerrcode.IsConnectionException(code) || code == pgerrcode.ReadOnlySQLTransaction ||
		code == pgerrcode.IdleInTransactionSessionTimeout || code == pgerrcode.ProtocolViolation ||
		pgerrcode.IsOperatorIntervention(code) && code != pgerrcode.QueryCanceled
}
