package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Append appends changes to a stream's log in one transaction. It calls do with the stream's last position, and appends the changes that
// do returns. The stream is locked until the transaction ends, so a batch must be small. The owner of the stream writes its next
// changes after these. Append is for snapshots, whose rows do not come from the stream.
func Append(ctx context.Context, on *postgres.DB, stream string, do func(tx pgx.Tx, head int64) ([]change.Change, error)) error {
	w := &Writer{config: Config{DB: on, Stream: stream, Partition: DefaultPartition}}
	return on.Tx(ctx, func(tx pgx.Tx) error {
		// A crash must not take positions back that consumers may have seen.
		if err := postgres.Durable(ctx, tx); err != nil {
			return err
		}
		queries := db.New(tx)
		row, err := queries.StreamHold(ctx, stream)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("%w: %s", ErrNoStream, stream)
		}
		if err != nil {
			return fmt.Errorf("hold stream %s: %w", stream, err)
		}
		w.id, w.position = row.ID, row.Position
		changes, err := do(tx, row.Position)
		if err != nil || len(changes) == 0 {
			return err
		}
		if w.upto, err = queries.LogPartitionLast(ctx, w.id); err != nil {
			return fmt.Errorf("look for the last partition of the log: %w", err)
		}
		next := w.position + int64(len(changes))
		for next > w.upto {
			if err := w.extendTx(ctx, tx, queries); err != nil {
				return fmt.Errorf("make a partition of the log: %w", err)
			}
		}
		if _, err := tx.Conn().PgConn().CopyFrom(ctx, w.encode(changes), copySQL); err != nil {
			return fmt.Errorf("append %d changes to stream %s: %w", len(changes), stream, err)
		}
		if err := queries.StreamAppend(ctx, db.StreamAppendParams{ID: w.id, Position: next}); err != nil {
			return fmt.Errorf("move stream %s: %w", stream, err)
		}
		return nil
	})
}

// refresh reads the position to which a snapshot has moved the stream.
func (w *Writer) refresh(ctx context.Context) error {
	return w.Tx(ctx, func(_ pgx.Tx, queries *db.Queries) error {
		position, err := queries.StreamOwn(ctx, db.StreamOwnParams{ID: w.id, Token: w.Token()})
		if err != nil {
			return fmt.Errorf("read where stream %s is: %w", w.config.Stream, err)
		}
		last, err := queries.LogPartitionLast(ctx, w.id)
		if err != nil {
			return fmt.Errorf("look for the last partition of the log: %w", err)
		}
		w.position, w.upto = position, last
		return nil
	})
}
