package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/postgres"
)

func (w *Writer) parent() string {
	return pgx.Identifier{"capture", "log_" + number(int64(w.id))}.Sanitize()
}

func (w *Writer) partition(after int64) string {
	return pgx.Identifier{"capture", "log_" + number(int64(w.id)) + "_" + number(after)}.Sanitize()
}

// extend makes the next partition. It attaches a table, because CREATE TABLE … PARTITION OF would wait for readers.
func (w *Writer) extend(ctx context.Context) error {
	err := w.Tx(ctx, func(tx pgx.Tx, queries *db.Queries) error { return w.extendTx(ctx, tx, queries) })
	if err != nil {
		return fmt.Errorf("make a partition of the log: %w", err)
	}
	return nil
}

// extendTx makes the next partition in a transaction during which nobody can move the stream.
func (w *Writer) extendTx(ctx context.Context, tx pgx.Tx, queries *db.Queries) error {
	last, err := queries.LogPartitionLast(ctx, w.id)
	if err != nil {
		return err
	}
	if last > w.upto { // A snapshot has made it.
		w.upto = last
		return nil
	}
	after := max(w.upto, w.position)
	upto := after + w.config.Partition
	statements := []string{
		"CREATE TABLE " + w.partition(after) + " (LIKE capture.log INCLUDING DEFAULTS)",
		"ALTER TABLE " + w.parent() + " ATTACH PARTITION " + w.partition(after) + " FOR VALUES FROM (" + number(after+1) + ") TO (" + number(upto+1) + ")",
	}
	var has bool
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", w.parent()).Scan(&has); err != nil {
		return err
	}
	if !has {
		statements = append([]string{
			"CREATE TABLE " + w.parent() + " (LIKE capture.log INCLUDING DEFAULTS) PARTITION BY RANGE (position)",
			"ALTER TABLE capture.log ATTACH PARTITION " + w.parent() + " FOR VALUES IN (" + number(int64(w.id)) + ")",
		}, statements...)
	}
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	if err := queries.LogPartitionInsert(ctx, db.LogPartitionInsertParams{StreamID: w.id, After: after, Upto: upto}); err != nil {
		return err
	}
	w.upto = upto
	return nil
}

// lockWait is how long dropping a partition waits for readers. Other sessions wait behind it for as long.
const lockWait = "200ms"

// Keep says how long a full partition is kept.
type Keep struct {
	Retention time.Duration // if all consumers have passed it
	Hold      time.Duration // if a consumer has not; until it has if 0
}

// left is why a consumer is paused whose changes the log no longer has.
const left = "the log has kept the changes that it did not receive for as long as --capture-hold says, and has forgotten them: resuming it also takes a snapshot of its tables"

// Maintain makes the next partition when the last one is half full. It drops the partitions that were kept for long enough, and returns how
// many. It pauses consumers that have not passed them. It leaves a partition that is being read for the next call.
func (w *Writer) Maintain(ctx context.Context, keep Keep) (int, error) {
	if err := w.refresh(ctx); err != nil {
		return 0, err
	}
	if w.position > w.upto-w.config.Partition/2 {
		if err := w.extend(ctx); err != nil {
			return 0, err
		}
	}
	var old []db.LogPartitionOldRow
	err := w.Tx(ctx, func(_ pgx.Tx, queries *db.Queries) error {
		err := queries.WatermarkPrune(ctx, w.id)
		if err == nil {
			err = queries.LogPartitionFill(ctx, w.id)
		}
		if err == nil {
			old, err = queries.LogPartitionOld(ctx, db.LogPartitionOldParams{StreamID: w.id, Retention: keep.Retention, Hold: keep.Hold})
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look for old partitions of the log: %w", err)
	}
	for i, p := range old {
		err := w.drop(ctx, p)
		switch {
		case postgres.IsLockTimeout(err):
			return i, nil
		case errors.Is(err, lease.ErrFenced):
			return i, err
		case err != nil:
			return i, fmt.Errorf("drop a partition of the log: %w", err)
		}
	}
	return len(old), nil
}

func (w *Writer) drop(ctx context.Context, p db.LogPartitionOldRow) error {
	return w.Tx(ctx, func(tx pgx.Tx, queries *db.Queries) error {
		if err := w.leave(ctx, tx, queries, p.Upto); err != nil {
			return err
		}
		// From here on, Read returns ErrForgotten to consumers that still need the partition.
		if err := queries.StreamForget(ctx, db.StreamForgetParams{ID: w.id, Position: p.Upto}); err != nil {
			return err
		}
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"lock_timeout": lockWait}); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "DROP TABLE "+w.partition(p.After)); err != nil {
			return err
		}
		return queries.LogPartitionDelete(ctx, db.LogPartitionDeleteParams{StreamID: w.id, After: p.After})
	})
}

// leave pauses consumers that have not passed a position. A delivery that is running is not recorded.
func (w *Writer) leave(ctx context.Context, tx pgx.Tx, queries *db.Queries, upto int64) error {
	names, err := queries.ConsumerLeave(ctx, db.ConsumerLeaveParams{StreamID: w.id, Upto: upto, Because: left})
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := queries.ShardFence(ctx, name); err != nil {
			return err
		}
		err := audit.Record(ctx, tx, audit.Entry{Who: audit.Who{Via: audit.ViaWorker}, Action: "leave consumer behind", Target: name, Detail: map[string]any{"upto": upto}})
		if err != nil {
			return err
		}
	}
	return nil
}
