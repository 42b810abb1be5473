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
func (db *DB) Do(t testing.TB, sql string, arguments ...any) {
	t.Helper()
	_, err := db.Exec(t.Context(), sql, arguments...)
	require.NoError(t, err, sql)
}

// Wait returns once a condition in SQL holds.
func (db *DB) Wait(t testing.TB, condition string, arguments ...any) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !Value[bool](t, db, "SELECT coalesce(("+condition+"), false)", arguments...); <-ticker.C {
		require.True(t, time.Now().Before(deadline), "waited in vain until %s %v", condition, arguments)
	}
}

// Value returns the only value that a query returns.
func Value[T any](t testing.TB, db *DB, sql string, arguments ...any) T {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, arguments...)
	require.NoError(t, err)
	one, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return one
}

// Column returns the values of a query's only column.
func Column[T any](t testing.TB, db *DB, sql string, arguments ...any) []T {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, arguments...)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return all
}
