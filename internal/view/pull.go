package view

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// pullKeys is how many root keys pull handles at a time.
const pullKeys = 500

// pull reads the rows that the task's root keys need from tables that are read on a schedule, before the keys are refreshed: first the rows of
// the root, then those of each joined table, by the values in the rows before it.
func (w *worker) pull(ctx context.Context) error {
	columns, err := w.columns()
	if err != nil {
		return err
	}
	for i, source := range w.version.Plan.Sources {
		if !source.Scheduled {
			continue
		}
		from, _, err := w.Databases.Open(ctx, w.version.Plan.Definition.Tables[i].Database)
		if err != nil {
			return err
		}
		for keys := range slices.Chunk(w.task.Keys, pullKeys) {
			if err := w.pullTable(ctx, i, from, keys.arrays(columns)); err != nil {
				return fmt.Errorf("read rows of %s.%s: %w", source.Schema, source.Name, err)
			}
		}
	}
	return nil
}

func (w *worker) pullTable(ctx context.Context, table int, from *postgres.DB, keys []any) error {
	source := w.version.Plan.Needed(table)
	position, err := w.look(ctx)
	if err != nil {
		return err
	}
	here, there, arguments := source.Present(), source.Rows(), keys
	if table > 0 {
		values, err := query(ctx, w.DB, w.version.Plan.Parents(table), keys...)
		if err != nil || len(values) == 0 {
			return err
		}
		here, there = w.version.Plan.Children(table, true), w.version.Plan.Children(table, false)
		arguments = values.arrays(len(w.version.Plan.Definition.Tables[table].Join.On))
	}
	present, err := readRows(ctx, w.DB, false, here, arguments...)
	if err != nil {
		return err
	}
	had := make(roots, len(present))
	for k, r := range present {
		had[k] = r.key
	}
	var rows []readRow
	err = from.Read(ctx, func(on postgres.DBTX) error {
		if rows, err = readRows(ctx, on, false, there, arguments...); err != nil || table == 0 {
			return err
		}
		// Rows that the mirror has for these values may have other values now.
		moved, err := readRows(ctx, on, false, source.Rows(), had.arrays(len(source.Key))...)
		rows = append(rows, moved...)
		return err
	})
	if err != nil {
		return err
	}
	gone, err := absent(ctx, from, source, present)
	if err != nil {
		return err
	}
	_, _, err = w.locked(ctx, func(tx pgx.Tx) (s step, err error) {
		if s.done, err = w.mirrored(ctx, tx, table, rows, position); err == nil {
			_, err = w.deleted(ctx, tx, table, gone, position)
		}
		s.cursor, s.done = w.task.Cursor, 0
		return s, err
	})
	return err
}
