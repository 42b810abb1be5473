package postgres

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cursor is a query that is read part after part, each by a short statement, in a read-only transaction that lasts until
// Close. It shows what was committed when it was declared. As long as it is open, nothing else may be sent through its
// session (see [Session.Busy]), and VACUUM keeps what was deleted since.
type Cursor struct {
	session *Session
	tx      pgx.Tx
}

// Declare opens a cursor whose statements, this one included, are under a statement_timeout. One that runs into it
// leaves nothing to do but Close.
//
// The planner is kept from reading a table whole where an index serves: such a plan comes by what is wanted at one
// stroke, at the table's end maybe, and the parts before it would be none.
func (s *Session) Declare(ctx context.Context, timeout time.Duration, sql string, args ...any) (*Cursor, error) {
	tx, err := s.conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	cursor := &Cursor{session: s, tx: tx}
	s.busy = true
	settings := maps.Clone(s.db.settings)
	settings["statement_timeout"] = milliseconds(timeout)
	settings["enable_seqscan"] = "off"
	if err := set(ctx, tx, true, settings); err != nil {
		cursor.Close(ctx)
		return nil, err
	}
	// Described each time rather than prepared: a pooler allows it, and a cursor's name means another query each time.
	args = append([]any{pgx.QueryExecModeDescribeExec}, args...)
	if _, err := tx.Exec(ctx, "DECLARE daymill NO SCROLL CURSOR FOR "+sql, args...); err != nil {
		cursor.Close(ctx)
		return nil, fmt.Errorf("declare a cursor: %w", err)
	}
	return cursor, nil
}

// Fetch asks for the next rows, at most so many, in binary format. Where it returns fewer, there are no more.
func (c *Cursor) Fetch(ctx context.Context, most int) (pgx.Rows, error) {
	return c.tx.Query(ctx, "FETCH FORWARD "+strconv.Itoa(most)+" FROM daymill",
		pgx.QueryExecModeDescribeExec, pgx.QueryResultFormats{pgx.BinaryFormatCode})
}

// Close ends the transaction. Where even that fails the connection is gone, and the transaction with it.
func (c *Cursor) Close(ctx context.Context) {
	c.session.busy = false
	_ = c.tx.Rollback(ctx) // Nothing was written. pgx closes a connection that did not end its transaction.
}

// Busy reports whether a cursor is open on the session: whatever else is to be sent needs another connection.
func (s *Session) Busy() bool { return s.busy }
