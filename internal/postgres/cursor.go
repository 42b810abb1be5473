package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cursor is a query whose result is read in parts, each by a short statement, in a read-only transaction that lasts until
// Close. It shows what was committed when it was declared. While it is open, nothing else may be sent through its session
// (see [Session.Busy]), and VACUUM cannot remove rows deleted since.
type Cursor struct {
	session *Session
	limit   time.Duration
}

// Declare opens a cursor. Each of its statements, including this one, has the statement_timeout limit. After a statement
// fails, only Close may be called. A patient session waits for these statements as for others, but does not retry them.
//
// The planner prefers an index to a sequential scan. By default it would choose the plan that is fastest for the complete
// result, and if that result lies at the end of the table, fetching its first rows would take as long as fetching all of
// them.
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
	// Describe the statement each time instead of preparing it: a pooler allows that, and a cursor's name means another query
	// each time.
	args = append([]any{pgx.QueryExecModeDescribeExec}, args...)
	if _, err := s.conn.Exec(ctx, "DECLARE daymill NO SCROLL CURSOR FOR "+sql, args...); err != nil {
		cursor.Close(ctx)
		return nil, fmt.Errorf("declare a cursor: %w", err)
	}
	return cursor, nil
}

// Fetch fetches at most so many rows, in binary format, and passes them to do. If there are fewer, the cursor is at its end.
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

// Close ends the transaction. If that fails, the connection is lost, and the transaction with it.
func (c *Cursor) Close(ctx context.Context) {
	ctx, cancel := c.session.within(ctx, 0)
	defer cancel()
	c.session.busy = false
	c.session.rollback(ctx)
	if c.session.conn.Conn().IsClosed() {
		c.session.drop(ctx)
	}
}
