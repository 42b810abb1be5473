package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/date"
)

// EnqueueDay requests a rollup of one date in the caller's transaction. After the transaction commits, a run follows that
// counts everything committed by then. EnqueueDay may be called any number of times and never waits: neither for a worker nor
// for another open transaction that has requested the same date. Nobody waits for the caller's transaction either, however
// long it stays open. (A plain insert of RollupDayArgs is as safe, but River's own check for duplicates makes two open
// transactions wait for each other; if you use it, insert last in the transaction.)
//
// A request for today waits until the day is over; a later date is an error. The client may be insert-only and may have any
// driver: the statement goes through its driver.
func EnqueueDay[TTx any](ctx context.Context, tx TTx, client *river.Client[TTx], day Date) error {
	return EnqueueRange(ctx, tx, client, day, day)
}

// EnqueueRange requests a rollup of every date from first to last, both included, as EnqueueDay does. It takes at most ten
// years at a time; for a long history consider [BackfillArgs], which limits how many dates are in flight.
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

// EnqueueEntities requests in the caller's transaction that some entities of a date are counted again, as EnqueueDay requests
// the whole date. If the events have an index that begins with the entity, the cost depends only on these entities. A request
// for more than 10,000 entities becomes a request for the whole date.
func EnqueueEntities[TTx any](ctx context.Context, tx TTx, client *river.Client[TTx], day Date, entities ...string) error {
	if day.IsZero() {
		return errors.New("enqueue a rollup: a date is missing")
	}
	list, err := json.Marshal(append([]string{}, entities...))
	if err != nil {
		return fmt.Errorf("enqueue a rollup of %s: %w", day, err)
	}
	err = client.Driver().UnwrapExecutor(tx).Exec(ctx, "SELECT analytics.enqueue_entities($1::text::date, "+
		"ARRAY(SELECT pg_catalog.json_array_elements_text($2::text::json)), 'go')", day.String(), string(list))
	if err != nil {
		return fmt.Errorf("enqueue a rollup of %d entities of %s: %w", len(entities), day, err)
	}
	return nil
}

// EnqueueDailyRollup inserts the daily job in the caller's transaction, to run now. As at its daily hour, the job requests
// yesterday, the days before it, and every date that has events and is not complete. It runs even if the schedule is paused,
// and does not resume the schedule. If it is inserted again before a worker has taken it, it runs once.
func EnqueueDailyRollup[TTx any](ctx context.Context, tx TTx, client *river.Client[TTx]) error {
	if _, err := client.InsertTx(ctx, tx, DailyRollupArgs{Now: true}, nil); err != nil {
		return fmt.Errorf("insert the daily job: %w", err)
	}
	return nil
}
