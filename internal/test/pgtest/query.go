package pgtest

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// patience is how long Wait waits.
const patience = 5 * time.Minute

// Do runs a statement.
func (db *DB) Do(tb testing.TB, sql string, arguments ...any) {
	tb.Helper()
	_, err := db.Exec(tb.Context(), sql, arguments...)
	require.NoError(tb, err, sql)
}

// Wait returns once a condition in SQL holds.
func (db *DB) Wait(tb testing.TB, condition string, arguments ...any) {
	tb.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	over := time.After(patience)
	for !Value[bool](tb, db, "SELECT coalesce(("+condition+"), false)", arguments...) {
		select {
		case <-ticker.C:
		case <-over:
			require.Fail(tb, "waited in vain", "until %s %v", condition, arguments)
		}
	}
}

// Value returns the only value that a query returns.
func Value[T any](tb testing.TB, db *DB, sql string, arguments ...any) T {
	tb.Helper()
	rows, err := db.Query(tb.Context(), sql, arguments...)
	require.NoError(tb, err)
	one, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(tb, err, sql)
	return one
}

// Column returns the values of a query's only column.
func Column[T any](tb testing.TB, db *DB, sql string, arguments ...any) []T {
	tb.Helper()
	rows, err := db.Query(tb.Context(), sql, arguments...)
	require.NoError(tb, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(tb, err, sql)
	return all
}
