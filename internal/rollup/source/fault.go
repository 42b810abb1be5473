package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/schema/inventory"
)

// Faults returns sentences about what prevents events from being noticed or counted although runs succeed: something that Daymill
// installed is missing, disabled or changed, the source is now a different table, or a watch does not request late events. It
// returns none if everything is right. Workers call it every half minute, and so do `daymill status`, `daymill doctor` and the
// overview.
func Faults(ctx context.Context, conn *postgres.DB, installation schema.Installation) ([]string, error) {
	said := []string{}
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		missing, err := db.New(tx).SourceMissing(ctx)
		if err != nil {
			return fmt.Errorf("look at analytics.events: %w", err)
		}
		if missing {
			said = append(said, textMissing+": run `daymill migrate`, which creates it again")
		}
		faults, err := inventory.Compare(ctx, tx, installation.Inventory())
		if err != nil {
			return err
		}
		if len(faults) > 0 {
			said = append(said, inventory.List(faults)+": run `daymill migrate`, which restores it")
		}
		more, err := watchFaults(ctx, tx)
		said = append(said, more...)
		if err != nil {
			return err
		}
		err = checkSwapped(ctx, tx)
		if errors.Is(err, ErrSwapped) {
			said = append(said, err.Error())
			return nil
		}
		return err
	})
	return said, err
}

const textMissing = "analytics.events is missing: it was dropped, most likely along with a table (DROP … CASCADE)"

// checkSwapped returns ErrSwapped, with both tables' names, if the source's name now means a different table.
func checkSwapped(ctx context.Context, tx pgx.Tx) error {
	swapped, err := db.New(tx).SourceSwapped(ctx)
	if err != nil {
		return fmt.Errorf("compare the source with the view: %w", err)
	}
	if swapped == "" {
		return nil
	}
	source, err := recorded(ctx, tx)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", source.swappedText(swapped), ErrSwapped)
}

// swappedText says that the source's name now means a different table from the one that the view reads.
func (s Source) swappedText(reads string) string {
	return fmt.Sprintf("analytics.events reads %s, but %s, which was set as the source, is now a different table: its events are not counted",
		reads, pgx.Identifier{s.Schema, s.Table}.Sanitize())
}

// watchFaults returns sentences about watches that do not work.
func watchFaults(ctx context.Context, tx pgx.Tx) ([]string, error) {
	all, err := watches(ctx, tx)
	if err != nil {
		return nil, err
	}
	var said []string
	for _, w := range all {
		if w.Unsound {
			said = append(said, "the triggers on "+w.Table+" are missing, disabled or changed, so late events are not noticed: run "+
				"`daymill migrate`, which restores them")
		}
	}
	faults, err := db.New(tx).WatchFaults(ctx)
	if err != nil {
		return said, fmt.Errorf("look for faults of watches: %w", err)
	}
	for _, f := range faults {
		if !f.Known {
			said = append(said, fmt.Sprintf("late events of %s have not been noticed since %s (%s): run `daymill source watch` again, and "+
				"`daymill verify` for the dates since then", f.TableName, f.Since.UTC().Format("2006-01-02 15:04:05 UTC"), f.Error))
		}
	}
	return said, nil
}
