package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/schema/inventory"
)

// Repair restores what `daymill source set` and `daymill source watch` have created if it is missing or changed: the view, its
// record, the triggers of watches and their functions. It returns a sentence for each repair that it has done or could not do, and
// changes nothing if everything is right. It never makes the view read another table, because a person must decide that.
func Repair(ctx context.Context, conn *postgres.DB, installation schema.Installation, who audit.Who) ([]string, error) {
	var said []string
	err := locked(ctx, conn, func(tx pgx.Tx) error {
		for _, step := range []func(context.Context, pgx.Tx, schema.Installation) ([]string, error){repairView, repairWatches} {
			lines, err := step(ctx, tx, installation)
			if err != nil {
				return err
			}
			said = append(said, lines...)
		}
		if len(said) == 0 {
			return nil
		}
		return writeDown(ctx, tx, audit.Entry{Who: who, Action: "repair source", Target: said[0], Detail: map[string]any{"done": said}})
	})
	return said, err
}

// repairView creates analytics.events again if it was dropped, and also the views that were dropped with it.
func repairView(ctx context.Context, tx pgx.Tx, installation schema.Installation) ([]string, error) {
	view, err := lookup(ctx, tx, "analytics", "events")
	if err != nil {
		return nil, err
	}
	if view.name != "" {
		// After a restore, the table has another oid.
		if err := db.New(tx).SourceRenumber(ctx); err != nil {
			return nil, fmt.Errorf("record the table's number: %w", err)
		}
		return nil, nil
	}
	recorded, err := recorded(ctx, tx)
	if err != nil {
		return nil, err
	}
	said := "analytics.events was missing, and was created again but reads nothing: run `daymill source set`, or write it by hand again"
	if recorded.Table != "" {
		err := keep(ctx, tx, func(tx pgx.Tx) error {
			v, err := recorded.view(ctx, tx, installation.EntityType)
			if err != nil {
				return err
			}
			return asWritten(ctx, tx, func() error { return execute(ctx, tx, "CREATE VIEW analytics.events AS "+v.query) })
		})
		switch {
		case err == nil:
			said = "analytics.events was missing, and was created again to read " + pgx.Identifier{recorded.Schema, recorded.Table}.Sanitize()
			if err := recorded.refresh(ctx, tx); err != nil {
				return nil, err
			}
		case postgres.Code(err) == "" && !errors.Is(err, ErrRefused):
			return nil, err
		default:
			recorded.Table = ""
		}
	}
	if recorded.Table == "" {
		err := execute(ctx, tx, "CREATE VIEW analytics.events AS SELECT NULL::analytics.entity_id AS entity_id, NULL::text AS event_type, "+
			"NULL::timestamptz AS created_at WHERE false")
		if err != nil {
			return nil, fmt.Errorf("make analytics.events: %w", err)
		}
	}
	views, err := repairViews(ctx, tx, installation)
	return append([]string{said + "; grant rights on it again"}, views...), err
}

// refresh records the view as it is now.
func (s Source) refresh(ctx context.Context, tx pgx.Tx) error {
	table, err := lookup(ctx, tx, s.Schema, s.Table)
	if err != nil {
		return err
	}
	s.tableID = table.ID
	return s.record(ctx, tx)
}

// repairViews creates the views again that were dropped together with analytics.events.
func repairViews(ctx context.Context, tx pgx.Tx, installation schema.Installation) ([]string, error) {
	faults, err := inventory.Repair(ctx, tx, installation.Inventory(), inventory.View)
	if err != nil {
		return nil, err
	}
	said := make([]string, len(faults))
	for i, fault := range faults {
		said[i] = fault.Name + " was " + fault.What + ", and was restored"
		if fault.Error != "" {
			said[i] = fault.String()
		}
	}
	return said, nil
}

// repairWatches creates triggers and functions of watches again if they differ from what Watch created.
func repairWatches(ctx context.Context, tx pgx.Tx, installation schema.Installation) ([]string, error) {
	recorded, err := db.New(tx).WatchRecorded(ctx, template())
	if err != nil {
		return nil, fmt.Errorf("read the watches: %w", err)
	}
	if len(recorded) == 0 {
		return nil, nil
	}
	all, err := watches(ctx, tx)
	if err != nil {
		return nil, err
	}
	if err := postgres.SetLocal(ctx, tx, postgres.Local{"lock_timeout": watchLockTimeout}); err != nil {
		return nil, err
	}
	var said []string
	for _, row := range recorded {
		i := slices.IndexFunc(all, func(w Watched) bool { return w.Table == row.Quoted })
		if i >= 0 && !all[i].Unsound && len(all[i].Unwatched) == 0 && !row.Outdated {
			continue
		}
		err := keep(ctx, tx, func(tx pgx.Tx) error { return watchAgain(ctx, tx, row, installation.EntityType) })
		switch {
		case err != nil && postgres.Code(err) == "" && !errors.Is(err, ErrRefused):
			return nil, err
		case err != nil:
			said = append(said, row.Quoted+"'s triggers are missing or changed, and could not be restored: "+strings.TrimPrefix(err.Error(), ErrRefused.Error()+": "))
		case i >= 0 && !all[i].Unsound && len(all[i].Unwatched) == 0:
			said = append(said, "the triggers on "+row.Quoted+" were updated to this version")
		default:
			said = append(said, row.Quoted+" is watched again: late events of the meantime were not noticed, and `daymill verify` finds their dates")
		}
	}
	return said, nil
}

// watchAgain creates the triggers of a watch again, from its record.
func watchAgain(ctx context.Context, tx pgx.Tx, row db.WatchRecordedRow, installed entity.Type) error {
	options := WatchOptions{
		Table: row.Quoted, Time: pgx.Identifier{row.TimeColumn}.Sanitize(), TimeZone: row.TimeColumnZone,
	}
	source, err := show(ctx, tx)
	if err == nil && !source.HandWritten && source.Schema == row.TableSchema && source.Table == row.TableName {
		options = WatchOptions{}
	}
	w, err := options.settle(ctx, tx, installed)
	if err != nil {
		return err
	}
	return w.install(ctx, tx)
}

// keep runs do in a savepoint, and undoes what do did if it fails.
func keep(ctx context.Context, tx pgx.Tx, do func(tx pgx.Tx) error) error {
	nested, err := tx.Begin(ctx)
	if err != nil {
		return fmt.Errorf("set a savepoint: %w", err)
	}
	if err := do(nested); err != nil {
		_ = nested.Rollback(ctx) // The error above is the cause.
		return err
	}
	return nested.Commit(ctx)
}
