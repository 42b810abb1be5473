package consumer

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// judge returns the changes before the first one for which the consumer must be paused. If that is the first change of all, judge
// pauses the consumer. A table's first change is accepted, whatever columns it has.
func (d *deliverer) judge(ctx context.Context, changes []change.Change, upTo int64) ([]change.Change, int64, error) {
	if d.Judge == nil {
		return changes, upTo, nil
	}
	if d.accepted == nil {
		if err := d.loadAccepted(ctx); err != nil {
			return nil, 0, err
		}
	}
	for i, c := range changes {
		name := c.Schema + "\x00" + c.Table
		accepted, known := d.accepted[name]
		if c.SchemaVersion <= accepted || !d.Filter.Takes(c.Schema, c.Table) {
			continue
		}
		reason := ""
		if known {
			err := d.DB.Read(ctx, func(on postgres.DBTX) (err error) {
				reason, err = d.Judge(ctx, on, c, accepted)
				return err
			})
			if err != nil {
				return nil, 0, err
			}
		}
		switch {
		case reason == "":
			if err := d.accept(ctx, c); err != nil {
				return nil, 0, err
			}
			d.accepted[name] = c.SchemaVersion
		case i > 0:
			return changes[:i], c.Position - 1, nil // It is the first one of the next batch.
		default:
			return nil, 0, d.pauseFor(ctx, c, reason)
		}
	}
	return changes, upTo, nil
}

func (d *deliverer) loadAccepted(ctx context.Context) error {
	return d.DB.Read(ctx, func(on postgres.DBTX) error {
		rows, err := db.New(on).AcceptedList(ctx, d.Consumer.Name)
		if err != nil {
			return fmt.Errorf("read the schema versions of %s: %w", d.Consumer.Name, err)
		}
		d.accepted = make(map[string]int, len(rows))
		for _, row := range rows {
			d.accepted[row.SchemaName+"\x00"+row.TableName] = int(row.Version)
		}
		return nil
	})
}

func (d *deliverer) accept(ctx context.Context, c change.Change) error {
	return d.DB.Tx(ctx, func(tx pgx.Tx) error {
		if err := d.hold(ctx, tx); err != nil {
			return err
		}
		err := db.New(tx).AcceptVersion(ctx, db.AcceptVersionParams{
			Consumer: d.Consumer.Name, SchemaName: c.Schema, TableName: c.Table, Version: int32(c.SchemaVersion), //nolint:gosec // Few.
		})
		if err != nil {
			return fmt.Errorf("accept a schema version for %s: %w", d.Consumer.Name, err)
		}
		return nil
	})
}

// pauseFor pauses the consumer if this turn still holds the shard. Resuming the consumer accepts the version.
func (d *deliverer) pauseFor(ctx context.Context, c change.Change, reason string) error {
	err := d.DB.Tx(ctx, func(tx pgx.Tx) error {
		if err := d.hold(ctx, tx); err != nil {
			return err
		}
		err := db.New(tx).AcceptPause(ctx, db.AcceptPauseParams{
			Version: int32(c.SchemaVersion), Consumer: d.Consumer.Name, SchemaName: c.Schema, TableName: c.Table, //nolint:gosec // Few.
		})
		if err != nil {
			return fmt.Errorf("pause %s: %w", d.Consumer.Name, err)
		}
		return Pause(ctx, tx, d.Consumer.Name, reason, audit.Who{Actor: "schema change", Via: audit.ViaWorker})
	})
	if err != nil {
		return err
	}
	return ErrPaused
}
