package comparison

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// await waits until the sink has delivered everything that the source had committed when await was called. It returns the position up
// to which the sink has delivered. Later changes have higher positions.
func (c *comparer) await(ctx context.Context) (head int64, err error) {
	began := c.Clock.Now()
	until := func(done func() (bool, error)) error {
		for {
			is, err := done()
			if err != nil || is {
				return err
			}
			if c.Clock.Now().Sub(began) > c.Patience {
				return ErrBehind
			}
			if err := c.Clock.Sleep(ctx, look); err != nil {
				return err
			}
		}
	}
	landed, err := c.mark(ctx)
	if err != nil {
		return 0, err
	}
	if err := until(func() (bool, error) { return landed(ctx) }); err != nil {
		return 0, err
	}
	there, err := c.stream(ctx)
	if err != nil {
		return 0, err
	}
	err = until(func() (behind bool, err error) {
		err = c.Log.Read(ctx, func(on postgres.DBTX) error {
			shards, err := consumer.Shards(ctx, on, c.Consumer.Name)
			for _, s := range shards {
				behind = behind || s.Position < there.Position
			}
			return err
		})
		return !behind, err
	})
	return there.Position, err
}

func (c *comparer) stream(ctx context.Context) (row db.StreamGetRow, err error) {
	err = c.Log.Read(ctx, func(on postgres.DBTX) (err error) {
		row, err = db.New(on).StreamGet(ctx, c.Consumer.Stream)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.Mode == "" {
		return row, ErrNoStream
	}
	if err != nil {
		return row, fmt.Errorf("read stream %s: %w", c.Consumer.Stream, err)
	}
	return row, nil
}

// mark returns a function that reports whether everything that the source has committed by now is in the log.
func (c *comparer) mark(ctx context.Context) (landed func(ctx context.Context) (bool, error), err error) {
	there, err := c.stream(ctx)
	if err != nil {
		return nil, err
	}
	ask, reached := "SELECT pg_catalog.pg_current_wal_insert_lsn()::text", func(ctx context.Context, on postgres.DBTX, at string) (is bool, err error) {
		// An idle stream only confirms to the slot how far it has read, and does not write its position.
		err = on.QueryRow(ctx, `
			SELECT coalesce((SELECT s.confirmed_flush_lsn >= $1::text::pg_catalog.pg_lsn FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = $2), false)`,
			at, there.Slot).Scan(&is)
		return is, err
	}
	if there.Mode == stream.ModeTrigger {
		ask, reached = "SELECT pg_catalog.pg_current_snapshot()::text", func(ctx context.Context, on postgres.DBTX, at string) (bool, error) {
			now, err := c.stream(ctx)
			if err != nil {
				return false, err
			}
			var unread bool
			schema := trigger.Schema(c.Consumer.Stream)
			err = on.QueryRow(ctx, `
				SELECT EXISTS (
					SELECT FROM (SELECT q.xid FROM `+schema+`.queue_0 AS q UNION ALL SELECT q.xid FROM `+schema+`.queue_1 AS q) AS q
					WHERE q.xid >= pg_catalog.pg_snapshot_xmin($1::text::pg_catalog.pg_snapshot)
						AND NOT pg_catalog.pg_visible_in_snapshot(q.xid, $1::text::pg_catalog.pg_snapshot)
						AND pg_catalog.pg_visible_in_snapshot(q.xid, $2::text::pg_catalog.pg_snapshot))`,
				trigger.ParseMark(now.Seen).Seen, at).Scan(&unread)
			return !unread, err
		}
	}
	var at string
	err = c.Source.Read(ctx, func(on postgres.DBTX) error { return on.QueryRow(ctx, ask).Scan(&at) })
	if err != nil {
		return nil, fmt.Errorf("ask the source for its position: %w", err)
	}
	return func(ctx context.Context) (is bool, err error) {
		err = c.Source.Read(ctx, func(on postgres.DBTX) error {
			is, err = reached(ctx, on, at)
			return err
		})
		if err != nil {
			err = fmt.Errorf("find out how far the source was read: %w", err)
		}
		return is, err
	}, nil
}
