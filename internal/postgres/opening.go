package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// opening is the connection of a session's transaction. BEGIN and the transaction's settings travel with the first statement, in one round trip. If
// this connection has not prepared that statement before, they go first: preparing it may wait for a lock, which the settings limit.
type opening struct {
	conn     *pgx.Conn
	session  *Session
	begin    string
	settings map[string]string
	open     bool
}

// prepared is the key of known in a connection's custom data.
const prepared = "daymill.prepared"

// first reports whether the transaction begins with a statement that the connection has prepared. Otherwise it has begun when first returns.
func (o *opening) first(ctx context.Context, sql string, args []any) (bool, error) {
	if len(args) > 0 {
		switch args[0].(type) {
		case pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID: // Statements of a batch have no options.
			return false, o.now(ctx)
		}
	}
	if o.known()[sql] {
		return true, nil
	}
	return false, o.now(ctx)
}

// known returns the first statements of transactions that the connection has prepared.
func (o *opening) known() map[string]bool {
	data := o.conn.PgConn().CustomData()
	known, is := data[prepared].(map[string]bool)
	if !is {
		known = map[string]bool{}
		data[prepared] = known
	}
	return known
}

// ended remembers that a statement is prepared, or forgets it if the statement failed: pgx prepares the statements of a failed batch again.
func (o *opening) ended(sql string, err error) {
	if err == nil {
		o.known()[sql] = true
	} else {
		delete(o.known(), sql)
	}
}

// now begins the transaction, unless it has begun.
func (o *opening) now(ctx context.Context) error {
	if o.open {
		return nil
	}
	results, err := o.send(ctx)
	if err != nil {
		return err
	}
	return results.Close()
}

// send sends BEGIN, the settings and a statement, if there is one. It reads all answers but that of the statement.
func (o *opening) send(ctx context.Context, statement ...any) (pgx.BatchResults, error) {
	o.open = true
	batch := &pgx.Batch{}
	batch.Queue(o.begin)
	ask, values := o.ask()
	batch.Queue(ask, values...)
	if len(statement) > 0 {
		batch.Queue(statement[0].(string), statement[1:]...) //nolint:forcetypeassert // See the callers.
	}
	results := o.conn.SendBatch(ctx, batch)
	if err := o.begun(results); err != nil {
		_ = results.Close() // It returns the same error.
		return nil, &ownError{fmt.Errorf("begin: %w", err)}
	}
	return results, nil
}

// ask returns SQL that makes the settings, and selects the server's process id and the transaction's id, which is NULL if it only reads. The
// values are parameters: the connection prepares it once for each kind of transaction.
func (o *opening) ask() (sql string, values []any) {
	var text strings.Builder
	text.WriteString("SELECT ")
	for i, name := range slices.Sorted(maps.Keys(o.settings)) {
		fmt.Fprintf(&text, "pg_catalog.set_config('%s', $%d, true), ", name, i+1)
		values = append(values, o.settings[name])
	}
	text.WriteString("pg_catalog.pg_backend_pid(), ")
	if o.begin == readWrite {
		text.WriteString("pg_catalog.pg_current_xact_id()::pg_catalog.text")
	} else {
		text.WriteString("NULL::pg_catalog.text")
	}
	return text.String(), values
}

func (o *opening) begun(results pgx.BatchResults) error {
	if _, err := results.Exec(); err != nil {
		return err
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return err
		}
		if pid, is := values[len(values)-2].(int32); is {
			o.session.pid.Store(pid)
		}
		o.session.xid, _ = values[len(values)-1].(string)
	}
	return rows.Err()
}

// Exec executes a statement.
func (o *opening) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if o.open {
		return o.conn.Exec(ctx, sql, args...)
	}
	first, err := o.first(ctx, sql, args)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	if !first {
		tag, err := o.conn.Exec(ctx, sql, args...)
		if len(args) > 0 { // Otherwise pgx does not prepare it.
			o.ended(sql, err)
		}
		return tag, err
	}
	results, err := o.send(ctx, slices.Concat([]any{sql}, args)...)
	if err != nil {
		o.ended(sql, err)
		return pgconn.CommandTag{}, err
	}
	tag, err := results.Exec()
	if closed := results.Close(); err == nil {
		err = closed
	}
	o.ended(sql, err)
	return tag, err
}

// Query executes a query.
func (o *opening) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if o.open {
		return o.conn.Query(ctx, sql, args...)
	}
	first, err := o.first(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	if !first {
		rows, err := o.conn.Query(ctx, sql, args...)
		o.ended(sql, err)
		return rows, err
	}
	results, err := o.send(ctx, slices.Concat([]any{sql}, args)...)
	if err != nil {
		o.ended(sql, err)
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close() // It returns the same error.
		o.ended(sql, err)
		return nil, err
	}
	return &openingRows{Rows: rows, results: results, ended: func(err error) { o.ended(sql, err) }}, nil
}

// QueryRow executes a query that returns at most one row.
func (o *opening) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := o.Query(ctx, sql, args...)
	return &openingRow{rows: rows, err: err}
}

// CopyFrom copies rows into a table.
func (o *opening) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, from pgx.CopyFromSource) (int64, error) {
	if err := o.now(ctx); err != nil {
		return 0, err
	}
	return o.conn.CopyFrom(ctx, table, columns, from)
}

// openingRows is the rows of a transaction's first statement.
type openingRows struct {
	pgx.Rows

	results pgx.BatchResults
	ended   func(err error)
}

// Next prepares the next row. After the last one, the connection is free for the next statement.
func (r *openingRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

// Close closes the rows.
func (r *openingRows) Close() {
	r.Rows.Close()
	_ = r.results.Close() // Err returns the statement's error.
	r.ended(r.Err())
}

type openingRow struct {
	rows pgx.Rows
	err  error
}

// Scan reads the row, or returns pgx.ErrNoRows.
func (r *openingRow) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
