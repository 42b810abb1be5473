package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/postgres"
)

// fail records that the sink did not accept a batch, and when to try again. If the sink says that it is busy, the size of its batches
// stays the same.
func (d *deliverer) fail(ctx context.Context, cause error) (Result, error) {
	if ctx.Err() != nil { // The worker stops, which is not a failure of the sink.
		return d.result, context.Cause(ctx)
	}
	d.result.Err = cause
	if busy, ok := errors.AsType[*sink.RetryError](cause); ok {
		d.result.After = max(busy.After, time.Second)
	} else {
		d.failures++
		d.result.After = backoff(d.failures)
	}
	err := d.DB.Tx(ctx, func(tx pgx.Tx) error {
		return lease.Fenced(db.New(tx).ShardFail(ctx, db.ShardFailParams{
			Failures: int32(d.failures), Error: sink.Answer([]byte(cause.Error())), After: d.result.After, //nolint:gosec // A count.
			Consumer: d.Consumer.Name, Shard: d.shard(), Fence: d.lease.Term.ID,
		}))
	})
	if err != nil {
		return d.result, fmt.Errorf("record that %s failed: %w", d.Consumer.Name, err)
	}
	return d.result, nil
}

// backoff returns how long to wait after a number of failed attempts in a row: a second, two, four, and so on up to a minute, minus a
// random tenth at most.
func backoff(failures int) time.Duration {
	wait := min(time.Second<<min(failures-1, 10), longest)
	return wait - time.Duration(rand.Int64N(int64(wait)/10+1))
}

// suspect tries a change again that has repeatedly failed alone. If it fails once more and the sink accepts the next change of another
// key, the row is the cause, and the change becomes a letter. If the other change fails too, or there is none, the sink is the cause.
func (d *deliverer) suspect(ctx context.Context, c change.Change, upTo int64) error {
	err := d.deliver(ctx, []change.Change{c}, upTo)
	var failed *sinkError
	if !errors.As(err, &failed) || isBusy(failed) {
		return err
	}
	witness, found, lookErr := d.witness(ctx, c)
	if lookErr != nil || !found {
		return errors.Join(err, lookErr)
	}
	if d.Once {
		lookErr = d.DB.Tx(ctx, func(tx pgx.Tx) error {
			if err := d.hold(ctx, tx); err != nil {
				return err
			}
			_, err := d.Sink.(TxSink).DeliverTx(ctx, tx, []change.Change{witness}) //nolint:forcetypeassert // It delivered in once.
			return err
		})
	} else {
		_, lookErr = d.send(ctx, []change.Change{witness})
	}
	if lookErr != nil {
		return err
	}
	letters := []letter{{change: c, state: Refused, reason: "the sink fails on this change, and accepts others: " + failed.Error()}}
	err = d.DB.Tx(ctx, func(tx pgx.Tx) error { return d.move(ctx, tx, upTo, 0, letters) })
	return d.moved(err, upTo, 0, letters)
}

func isBusy(err error) bool {
	var busy *sink.RetryError
	return errors.As(err, &busy)
}

// witness returns the next change of another key that the consumer gets, among the changes that follow closely.
func (d *deliverer) witness(ctx context.Context, suspect change.Change) (witness change.Change, found bool, err error) {
	err = d.DB.Read(ctx, func(on postgres.DBTX) error {
		changes, _, err := d.Log.Read(ctx, on, Query{
			Stream: d.Consumer.Stream, After: suspect.Position, Shard: d.Shard, Shards: d.Consumer.Shards, Limit: d.Batch,
			Consumer: d.Consumer.Name,
		})
		if err != nil {
			return fmt.Errorf("read the log for %s: %w", d.Consumer.Name, err)
		}
		sent, raw, _, err := d.plan(ctx, on, changes)
		seen := map[string]bool{sink.Key(suspect): true}
		for i, c := range raw {
			if d.Judge != nil && c.SchemaVersion > d.accepted[c.Schema+"\x00"+c.Table] {
				return err // The consumer may have to pause before this change.
			}
			// It must be the first change of its key, so that the order of the key is kept.
			if !seen[sink.Key(c)] {
				witness, found = sent[i], true
				return err
			}
		}
		return err
	})
	return witness, found, err
}

// replay delivers the letters whose replay somebody has requested, those of a key in order, and deletes the letters that the sink
// accepts. A key stays parked as long as it has a letter. replay reports whether there were any letters.
func (d *deliverer) replay(ctx context.Context) (any bool, err error) { //nolint:predeclared // The result is named any.
	var rows []db.LetterReplayRow
	err = d.DB.Read(ctx, func(on postgres.DBTX) error {
		pending, err := db.New(on).LetterPending(ctx, db.LetterPendingParams{Consumer: d.Consumer.Name, Shard: d.shard()})
		if d.letters = pending.Any; err != nil || !pending.Replay {
			return err
		}
		rows, err = db.New(on).LetterReplay(ctx, db.LetterReplayParams{
			Consumer: d.Consumer.Name, Shard: d.shard(), MaxRows: int32(d.limit()), //nolint:gosec // A batch.
		})
		return err
	})
	if err != nil || len(rows) == 0 {
		return false, err
	}
	var sent, raw []change.Change
	var gone []int64
	var again []letter
	parked := map[string]bool{}
	for _, row := range rows {
		var c change.Change
		if err := json.Unmarshal([]byte(row.Change), &c); err != nil {
			return false, fmt.Errorf("read dead letter %d of %s: %w", row.Position, d.Consumer.Name, err)
		}
		shaped, passes, err := d.shape(c)
		switch {
		case parked[sink.Key(c)]:
		case err != nil:
			parked[sink.Key(c)] = true
			again = append(again, letter{change: c, state: Refused, reason: err.Error()})
		case !passes: // The filter has changed since.
			gone = append(gone, c.Position)
		default:
			sent, raw = append(sent, shaped), append(raw, c)
		}
	}
	if d.Once {
		err := d.DB.Tx(ctx, func(tx pgx.Tx) error {
			return d.settle(ctx, tx, raw, gone, again, func() ([]sink.Refusal, error) {
				return d.Sink.(TxSink).DeliverTx(ctx, tx, sent) //nolint:forcetypeassert // Config says so.
			})
		})
		if failed := (*sinkError)(nil); errors.As(err, &failed) {
			return true, d.giveUp(ctx, raw, failed.error)
		}
		return true, err
	}
	var refusals []sink.Refusal
	if len(sent) > 0 {
		if refusals, err = d.send(ctx, sent); err != nil {
			return true, d.giveUp(ctx, raw, err)
		}
	}
	return true, d.DB.Tx(ctx, func(tx pgx.Tx) error {
		return d.settle(ctx, tx, raw, gone, again, func() ([]sink.Refusal, error) { return refusals, nil })
	})
}

// giveUp ends the replay of letters on which the sink failed, so that other changes do not wait for them. The person who requested the replay
// sees the reason and can request it again.
func (d *deliverer) giveUp(ctx context.Context, raw []change.Change, cause error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var again []letter
	seen := map[string]bool{}
	for _, c := range raw {
		if key := sink.Key(c); !seen[key] {
			seen[key] = true
			again = append(again, letter{change: c, state: Refused, reason: "the sink failed again during a replay: " + cause.Error()})
		}
	}
	return d.DB.Tx(ctx, func(tx pgx.Tx) error {
		return d.settle(ctx, tx, nil, nil, again, func() ([]sink.Refusal, error) { return nil, nil })
	})
}

// settle records the results of letters that were delivered again.
func (d *deliverer) settle(
	ctx context.Context, tx pgx.Tx, raw []change.Change, gone []int64, again []letter, deliver func() ([]sink.Refusal, error),
) error {
	if err := d.hold(ctx, tx); err != nil {
		return err
	}
	refusals, err := deliver()
	if err != nil {
		return &sinkError{err}
	}
	letters, taken := refused(raw, refusals)
	still := map[int64]bool{}
	for _, l := range letters {
		still[l.change.Position] = true
		if l.state == Refused {
			again = append(again, l)
		}
	}
	for _, c := range raw {
		if !still[c.Position] {
			gone = append(gone, c.Position)
		}
	}
	queries := db.New(tx)
	if len(gone) > 0 {
		if err := queries.LetterDelete(ctx, db.LetterDeleteParams{Consumer: d.Consumer.Name, Positions: gone}); err != nil {
			return fmt.Errorf("delete dead letters of %s: %w", d.Consumer.Name, err)
		}
	}
	var hashes [][]byte
	for _, l := range again {
		hashes = append(hashes, change.Hash(l.change))
		err := queries.LetterRefuse(ctx, db.LetterRefuseParams{
			Reason: sink.Answer([]byte(l.reason)), Answer: sink.Answer([]byte(l.answer)), Consumer: d.Consumer.Name, Position: l.change.Position,
		})
		if err != nil {
			return fmt.Errorf("write dead letters of %s: %w", d.Consumer.Name, err)
		}
	}
	if len(hashes) > 0 {
		if err := queries.LetterWait(ctx, db.LetterWaitParams{Consumer: d.Consumer.Name, KeyHashes: hashes}); err != nil {
			return fmt.Errorf("write dead letters of %s: %w", d.Consumer.Name, err)
		}
	}
	if taken > 0 {
		err := queries.ShardReplayed(ctx, db.ShardReplayedParams{
			Delivered: int64(taken), Consumer: d.Consumer.Name, Shard: d.shard(), Fence: d.lease.Term.ID,
		})
		if err != nil {
			return fmt.Errorf("count what was delivered to %s: %w", d.Consumer.Name, err)
		}
	}
	d.result.Delivered += taken
	return nil
}
