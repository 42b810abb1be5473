package log

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Recent is how many of the last changes of a log may belong to transactions that have not ended in the source.
const Recent = 10_000

// openSQL finds transactions that have not ended, by the lower halves of their numbers: each holds a lock on its number. When it releases the lock,
// its rows are visible.
const openSQL = `
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.transactionid::text::bigint = ANY($1::bigint[])
)`

// Settled reports whether statements that begin now in the source see the rows of all changes at the positions after one and up to another.
// A transaction is in the WAL a moment before its rows are visible. With a synchronous standby, that moment lasts until the standby has answered.
func Settled(ctx context.Context, on, source postgres.DBTX, stream string, after, upto int64) (bool, error) {
	xids, err := db.New(on).LogTransactions(ctx, db.LogTransactionsParams{Stream: stream, After: max(after, upto-Recent), Upto: upto})
	if err != nil {
		return false, fmt.Errorf("find the transactions of changes: %w", err)
	}
	if len(xids) == 0 {
		return true, nil
	}
	var is bool
	if err := source.QueryRow(ctx, openSQL, xids).Scan(&is); err != nil {
		return false, fmt.Errorf("find the transactions that are open: %w", err)
	}
	return !is, nil
}
