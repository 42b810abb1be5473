package source

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

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
		if err = checkSwapped(ctx, tx); err == nil {
			err = checkRenamed(ctx, tx)
		}
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

// checkRenamed returns ErrSwapped, with both names, if the name of a column of the source, or of a table behind the view, now means a
// different one. Runs do not ask, because somebody may have written such a view by hand.
func checkRenamed(ctx context.Context, tx pgx.Tx) error {
	source, err := show(ctx, tx)
	switch {
	case errors.Is(err, ErrNone) || err == nil && source.Renamed == "":
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("%s: %w", source.Renamed, ErrSwapped)
	}
}

// RecordReads records the names of the tables that analytics.events reads, if the view, or a view behind it, was created or replaced since
// the last record. A worker calls it every half minute, before Faults.
func RecordReads(ctx context.Context, conn *postgres.DB) error {
	return conn.Tx(ctx, func(tx pgx.Tx) error { return recordReads(ctx, tx) })
}

func recordReads(ctx context.Context, tx pgx.Tx) error {
	queries := db.New(tx)
	now, err := queries.SourceReadsNow(ctx)
	if err == nil {
		err = queries.SourceReadsRecord(ctx, db.SourceReadsRecordParams{RelationIds: now.RelationIds, Written: now.Written})
	}
	if err != nil {
		return fmt.Errorf("record what analytics.events reads: %w", err)
	}
	return nil
}

// swappedReads returns a sentence if a table was renamed under the view, or under a view that it reads, and its name now means a different
// table, to which the application writes. It returns an empty text otherwise.
func swappedReads(ctx context.Context, tx pgx.Tx) (string, error) {
	queries := db.New(tx)
	var swapped []db.SourceReadsSwappedRow
	now, err := queries.SourceReadsNow(ctx)
	if err == nil {
		swapped, err = queries.SourceReadsSwapped(ctx, now.Written)
	}
	if err != nil {
		return "", fmt.Errorf("compare what analytics.events reads with the record: %w", err)
	}
	clauses := make([]string, len(swapped))
	for i, s := range swapped {
		clauses[i] = fmt.Sprintf("analytics.events reads %s, but %s, as it was called when the view was created, is now a different table", s.Reads, s.Recorded)
	}
	if len(clauses) == 0 {
		return "", nil
	}
	return strings.Join(clauses, "; ") + ": what is written to it is not counted", nil
}

// swappedColumns returns a sentence if a column was renamed under the view, and its name now means a different column, to which the
// application writes. It returns an empty text otherwise, also for a view that was written by hand.
func (s Source) swappedColumns(ctx context.Context, tx pgx.Tx) (string, error) {
	found, err := db.New(tx).SourceColumnsSwapped(ctx)
	if err != nil {
		return "", fmt.Errorf("compare the source's columns with the view: %w", err)
	}
	if len(found.Unread) == 0 || len(found.Others) != len(found.Unread) {
		return "", nil
	}
	current, err := definition(ctx, tx, viewName)
	if err != nil {
		return "", err
	}
	// The view is as Set created it if Set would create it with the columns' new names.
	for reads := range permutations(found.Others) {
		renamed := s
		for i, name := range found.Unread {
			for _, column := range []*string{&renamed.Entity, &renamed.Type, &renamed.Time} {
				if *column == name {
					*column = reads[i]
				}
			}
		}
		differs, err := renamed.differs(ctx, tx, current)
		if err != nil {
			return "", err
		}
		if !differs {
			table := pgx.Identifier{s.Schema, s.Table}
			clauses := make([]string, len(reads))
			for i, name := range reads {
				clauses[i] = fmt.Sprintf("analytics.events reads %s of %s, but %s, which was set as the source's column, is now a different one",
					pgx.Identifier{name}.Sanitize(), table.Sanitize(), pgx.Identifier{found.Unread[i]}.Sanitize())
			}
			return strings.Join(clauses, "; ") + ": what is written to it is not counted", nil
		}
	}
	return "", nil
}

// permutations yields every order of a few names. The slice is only valid until the next one.
func permutations(names []string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		if len(names) > 3 {
			return
		}
		var place func(at int) bool
		place = func(at int) bool {
			if at >= len(names) {
				return yield(names)
			}
			for i := at; i < len(names); i++ {
				names[at], names[i] = names[i], names[at]
				if !place(at + 1) {
					return false
				}
				names[at], names[i] = names[i], names[at]
			}
			return true
		}
		place(0)
	}
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
