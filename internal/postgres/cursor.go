package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cursor is a query that is read part after part, each by a short statement, in a read-only transaction that lasts until
// Close. It shows what was committed when it was declared. As long as it is open, nothing else may be sent through its
// session (see [Session.Busy]), and VACUUM keeps what was deleted since.
type Cursor struct {
	session *Session
	limit   time.Duration
}

// Declare opens a cursor whose statements, this one included, are under a statement_timeout. After one that fails there
// is nothing to do but Close. A patient session waits for it like for other statements, but does not try it again.
//
// The planner does not read a table whole where an index serves: it would do so for a result that is wanted in one piece,
// and the first parts of a result that lies at the table's end would take as long as all of it.
func (s *Session) Declare(ctx context.Context, limit time.Duration, sql string, args ...any) (*Cursor, error) {
	if s.conn == nil {
		if err := s.connect(ctx); err != nil {
			return nil, err
		}
	}
	ctx, cancel := s.within(ctx, limit)
	defer cancel()
	settings := s.settings(limit)
	settings["enable_seqscan"] = "off"
	cursor := &Cursor{session: s, limit: limit}
	s.rollback(ctx) // As for a transaction.
	s.busy = true
	if _, err := s.conn.Exec(ctx, readOnly+assign(settings, true)); err != nil {
		cursor.Close(ctx)
		return nil, fmt.Errorf("begin: %w", err)
	}
	// Described each time rather than prepared: a pooler allows it, and a cursor's name means another query each time.
	args = append([]any{pgx.QueryExecModeDescribeExec}, args...)
	if _, err := s.conn.Exec(ctx, "DECLARE daymill NO SCROLL CURSOR FOR "+sql, args...); err != nil {
		cursor.Close(ctx)
		return nil, fmt.Errorf("declare a cursor: %w", err)
	}
	return cursor, nil
}

// Fetch asks for the next rows, at most so many, in binary format, and hands them to do. Where there are fewer, there are
// no more.
func (c *Cursor) Fetch(ctx context.Context, most int, do func(rows pgx.Rows) error) error {
	ctx, cancel := c.session.within(ctx, c.limit)
	defer cancel()
	rows, err := c.session.conn.Query(ctx, "FETCH FORWARD "+strconv.Itoa(most)+" FROM daymill",
		pgx.QueryExecModeDescribeExec, pgx.QueryResultFormats{pgx.BinaryFormatCode})
	if err != nil {
		return err
	}
	return do(rows)
}

// Close ends the transaction. Where even that fails the connection is gone, and the transaction with it.
func (c *Cursor) Close(ctx context.Context) {
	ctx, cancel := c.session.within(ctx, 0)
	defer cancel()
	c.session.busy = false
	c.session.rollback(ctx)
	if c.session.conn.Conn().IsClosed() {
		c.session.drop(ctx)
	}
}
