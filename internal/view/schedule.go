package view

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// A table whose changes cannot be captured is read on a schedule, which needs only the right to SELECT. Its mirror shows what has changed:
// rows that differ from the mirror are handled like captured changes. Each such table has two standing tasks: a poll reads rows whose column
// Changed has grown, and a comparison reads all rows, and looks for rows of the mirror that the table no longer has.

// Halves of a comparison, as the first text of its cursor.
const (
	compareRows = "rows" // of the table
	compareKeys = "keys" // of the mirror
)

// readRow is a row of a table or its mirror.
type readRow struct {
	key       []string
	keyJSON   json.RawMessage
	row       json.RawMessage
	changedAt string // the value of the column Changed, if it was read
}

// readRows runs a statement of package plan that reads rows.
func readRows(ctx context.Context, on postgres.DBTX, withChanged bool, sql string, arguments ...any) ([]readRow, error) {
	rows, err := on.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, arguments...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r readRow, err error) {
		var key, values string
		to := []any{&r.key, &key, &values}
		if withChanged {
			to = append(to, &r.changedAt)
		}
		err = row.Scan(to...)
		r.keyJSON, r.row = json.RawMessage(key), json.RawMessage(values)
		return r, err
	})
}

// change returns a row that was read as a change at a position.
func (r readRow) change(s plan.Source, op change.Op, position int64) change.Change {
	c := change.Change{Position: position, Stream: s.Stream, Op: op, Schema: s.Schema, Table: s.Name, Key: r.keyJSON, Snapshot: true}
	if op != change.Delete {
		c.New = r.row
	}
	return c
}

func texts(values []string) []any {
	arguments := make([]any, len(values))
	for k, text := range values {
		arguments[k] = text
	}
	return arguments
}

// stand inserts the standing tasks of a table that is read on a schedule, before its mirror is filled. The first comparison begins after the
// overlap, so it finds what transactions that are open now commit later, unless comparisons are more frequent than that.
func (w *worker) stand(ctx context.Context, table int, from *postgres.DB) error {
	v := w.version
	column, schedule := v.Plan.Definition.Tables[table].Changed, v.Plan.Definition.Schedule
	var greatest *string
	if column != "" {
		if err := from.QueryRow(ctx, v.Plan.Sources[table].Greatest(column)).Scan(&greatest); err != nil {
			return fmt.Errorf("read the greatest %s: %w", column, err)
		}
	}
	return w.DB.Tx(ctx, func(tx pgx.Tx) error {
		params := db.ViewTaskStandParams{
			ViewID: v.View, VersionID: v.ID, Kind: TaskCompare, TableIndex: int32(table), After: min(schedule.Overlap, schedule.Full), //nolint:gosec // A small number.
		}
		err := db.New(tx).ViewTaskStand(ctx, params)
		if err == nil && column != "" {
			params.Kind, params.After, params.Since = TaskPoll, schedule.Every, greatest
			err = db.New(tx).ViewTaskStand(ctx, params)
		}
		if err != nil {
			return fmt.Errorf("insert a task: %w", err)
		}
		return nil
	})
}

// again ends a round of a standing task.
func (w *worker) again(ctx context.Context) error {
	schedule := w.version.Plan.Definition.Schedule
	params := db.ViewTaskAgainParams{ID: w.task.ID, Fence: w.lease.Term.ID, Every: schedule.Every, Overlap: schedule.Overlap}
	if w.task.Kind == TaskCompare {
		params.Every = schedule.Full
	} else if len(w.task.Cursor) > 0 {
		params.Observed = &w.task.Cursor[0]
	}
	return w.DB.Tx(ctx, func(tx pgx.Tx) error {
		if err := lease.Fenced(db.New(tx).ViewTaskAgain(ctx, params)); err != nil {
			return fmt.Errorf("end a round of task %d: %w", w.task.ID, err)
		}
		return nil
	})
}

// poll reads the next rows whose column Changed has grown.
func (w *worker) poll(ctx context.Context, size int64) (s step, took time.Duration, err error) {
	source, from, err := w.table(ctx, w.task.Table)
	if err != nil {
		return s, 0, err
	}
	whole := w.version.Plan.Sources[w.task.Table]
	column, has := whole.Column(w.version.Plan.Definition.Tables[w.task.Table].Changed)
	if !has {
		return step{end: true}, 0, nil // The column was dropped. Comparisons continue.
	}
	arguments := texts(w.task.Cursor)
	if w.task.Cursor == nil && w.task.since != nil {
		arguments = []any{*w.task.since}
	}
	position, err := w.look(ctx)
	if err != nil {
		return s, 0, err
	}
	var rows []readRow
	err = from.Read(ctx, func(on postgres.DBTX) error {
		rows, err = readRows(ctx, on, true, source.Since(column, w.task.since != nil, w.task.Cursor != nil), append(arguments, size)...)
		return err
	})
	if err != nil {
		return s, 0, fmt.Errorf("read changed rows of %s: %w", source.Name, err)
	}
	s = step{cursor: w.task.Cursor, end: int64(len(rows)) < size}
	if len(rows) > 0 {
		last := rows[len(rows)-1]
		s.cursor = append([]string{last.changedAt}, last.key...)
	}
	return w.locked(ctx, func(tx pgx.Tx) (step, error) {
		s.done, err = w.mirrored(ctx, tx, w.task.Table, rows, position)
		return s, err
	})
}

// compare reads the next rows of the table, and then the next keys of the mirror.
func (w *worker) compare(ctx context.Context, size int64) (s step, took time.Duration, err error) {
	source, from, err := w.table(ctx, w.task.Table)
	if err != nil {
		return s, 0, err
	}
	half, after := compareRows, []string(nil)
	if len(w.task.Cursor) > 0 {
		half, after = w.task.Cursor[0], w.task.Cursor[1:]
	}
	position, err := w.look(ctx)
	if err != nil {
		return s, 0, err
	}
	do, rows := w.mirrored, []readRow(nil)
	arguments := append(texts(after), size)
	if half == compareRows {
		err = from.Read(ctx, func(on postgres.DBTX) error {
			rows, err = readRows(ctx, on, false, source.Chunk(len(after) > 0), arguments...)
			return err
		})
	} else {
		do = w.deleted
		rows, err = readRows(ctx, w.DB, false, source.MirrorChunk(len(after) > 0), arguments...)
	}
	if err != nil {
		return s, 0, fmt.Errorf("compare %s with its mirror: %w", source.Name, err)
	}
	s = step{cursor: w.task.Cursor}
	switch {
	case int64(len(rows)) == size:
		s.cursor = append([]string{half}, rows[len(rows)-1].key...)
	case half == compareRows:
		s.cursor = []string{compareKeys}
	default:
		s.end = true
	}
	if half == compareKeys {
		if rows, err = absent(ctx, from, source, rows); err != nil {
			return s, 0, err
		}
	}
	return w.locked(ctx, func(tx pgx.Tx) (step, error) {
		s.done, err = do(ctx, tx, w.task.Table, rows, position)
		return s, err
	})
}

// absent returns those of the mirror's rows that the table does not have.
func absent(ctx context.Context, from *postgres.DB, source plan.Source, rows []readRow) (gone []readRow, err error) {
	byKey := map[string]readRow{}
	keys := make(roots, len(rows))
	for i, r := range rows {
		keys[i], byKey[joined(r.key)] = r.key, r
	}
	err = from.Read(ctx, func(on postgres.DBTX) error {
		found, err := query(ctx, on, source.Absent(), keys.arrays(len(source.Key))...)
		for _, key := range found {
			gone = append(gone, byKey[joined(key)])
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find the deleted rows of %s: %w", source.Name, err)
	}
	return gone, nil
}

// mirrored writes rows that were read to the mirror if they differ, and refreshes the keys that they affect. It returns how many rows
// differed.
func (w *worker) mirrored(ctx context.Context, tx pgx.Tx, table int, rows []readRow, position int64) (int64, error) {
	if len(rows) == 0 {
		return 0, nil
	}
	source := w.version.Plan.Needed(table)
	keys := make(roots, len(rows))
	for i, r := range rows {
		keys[i] = r.key
	}
	present, err := readRows(ctx, tx, false, source.Present(), keys.arrays(len(source.Key))...)
	if err != nil {
		return 0, fmt.Errorf("read the mirror of %s: %w", source.Name, err)
	}
	has := map[string]string{}
	for _, r := range present {
		has[joined(r.key)] = string(r.row)
	}
	var changes []change.Change
	for _, r := range rows {
		if before, is := has[joined(r.key)]; !is || before != string(r.row) {
			changes = append(changes, r.change(source, change.Update, position))
		}
	}
	return w.deliver(ctx, tx, table, changes)
}

// deleted deletes rows of the mirror that the table does not have.
func (w *worker) deleted(ctx context.Context, tx pgx.Tx, table int, rows []readRow, position int64) (int64, error) {
	changes := make([]change.Change, len(rows))
	for i, r := range rows {
		changes[i] = r.change(w.version.Plan.Sources[table], change.Delete, position)
	}
	return w.deliver(ctx, tx, table, changes)
}

// deliver writes changes of a table to its mirror, and refreshes the keys that they affect.
func (w *worker) deliver(ctx context.Context, tx pgx.Tx, table int, changes []change.Change) (int64, error) {
	if len(changes) == 0 {
		return 0, nil
	}
	mirror := w.version.Plan.Sources[table].Mirror
	if err := w.mirror(ctx, tx, table, changes); err != nil {
		return 0, err
	}
	refreshed, err := w.apply(ctx, tx, w.version, func(s plan.Source) bool { return s.Mirror == mirror }, changes)
	if err != nil {
		return 0, err
	}
	if err := db.New(tx).ViewRefreshed(ctx, db.ViewRefreshedParams{ID: w.version.View, Roots: int64(refreshed)}); err != nil {
		return 0, fmt.Errorf("record a refresh: %w", err)
	}
	return int64(len(changes)), nil
}
