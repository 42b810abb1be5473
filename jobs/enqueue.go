package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/date"
)

// EnqueueDay asks for a rollup of one date in the caller's transaction: once that commits, a run follows that counts
// everything committed by then. It does so any number of times, and never waits: neither for a worker nor for another
// transaction that has asked for the same date and is still open, and it makes nobody wait either, however long the
// caller's transaction stays open. (A plain insert of RollupDayArgs is as safe, but River's own check for duplicates
// makes two open transactions wait for each other; insert last in the transaction then.)
//
// A date that is not over waits until it is; later dates are an error. The client may be insert-only, and of any
// driver: its driver is what the statement is sent through.
func EnqueueDay[TTx any](ctx context.Context, tx TTx, client *river.Client[TTx], day Date) error {
	return EnqueueRange(ctx, tx, client, day, day)
}

// EnqueueRange asks for a rollup of every date from first to last, both included, as EnqueueDay does. It takes at most
// ten years at a time; for a long history consider [BackfillArgs], which goes at a pace.
func EnqueueRange[TTx any](ctx context.Context, tx TTx, client *river.Client[TTx], first, last Date) error {
	if first.IsZero() || last.IsZero() {
		return errors.New("enqueue a rollup: a date is missing")
	}
	err := client.Driver().UnwrapExecutor(tx).
		Exec(ctx, "SELECT analytics.enqueue_rollup($1::text::date, $2::text::date, 'go')", first.String(), last.String())
	if err != nil {
		return fmt.Errorf("enqueue a rollup of %s: %w", date.Range{First: first, Last: last}, err)
	}
	return nil
}

// EnqueueDailyRollup inserts the daily job for now, in the caller's transaction: it asks for yesterday, the days before it,
// and every date that has events and is not complete, as it does every day at its hour. It does so also while the
// schedule is paused, which it stays. Asked for again before a worker has taken it up, it runs once.
func EnqueueDailyRollup[TTx any](ctx context.Context, tx TTx, client *river.Client[TTx]) error {
	if _, err := client.InsertTx(ctx, tx, DailyRollupArgs{Now: true}, nil); err != nil {
		return fmt.Errorf("insert the daily job: %w", err)
	}
	return nil
}
