package view

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// captured returns the indexes of the tables whose mirrors captured changes keep. The others are read on a schedule.
func (w *worker) captured() []int {
	var indexes []int
	for _, index := range w.version.Plan.Mirrored() {
		if !w.version.Plan.Sources[index].Scheduled {
			indexes = append(indexes, index)
		}
	}
	return indexes
}

// verifyMirror compares the next rows of a table in another database with its mirror. A second stage looks for rows of the mirror that the table
// does not have. Rows of a table that is read on a schedule normally differ until they are read, and nothing shows since when. So those that differ
// are read, and differ only if they still do.
func (w *worker) verifyMirror(ctx context.Context, size int64) (s step, took time.Duration, err error) {
	index := w.version.Plan.Mirrored()[(w.task.Stage-1)/2]
	source, from, err := w.table(ctx, index)
	if err != nil {
		return s, 0, err
	}
	next := w.rowsOf
	if w.task.Stage%2 == 0 {
		next = w.keysOf
	}
	var differing roots
	took, err = w.pacer.Do(nil, func() error {
		s, differing, err = next(ctx, source, from, size)
		return err
	})
	for _, pause := range recheck {
		if err != nil || len(differing) == 0 {
			break
		}
		if source.Scheduled {
			_, _, err = w.correct(ctx, index, source, from, differing, step{cursor: w.task.Cursor})
		} else {
			err = w.clock().Sleep(ctx, pause)
		}
		if err == nil {
			_, _, differing, err = w.unlike(ctx, w.DB, source, from, differing)
		}
	}
	if err != nil {
		return s, took, fmt.Errorf("compare %s with its copy: %w", source.Name, err)
	}
	s.differing = int64(len(differing))
	w.example("copy of "+source.Stream+"."+source.Schema+"."+source.Name+" ", differing)
	if !w.task.Repair || source.Scheduled || len(differing) == 0 {
		s, _, err = w.locked(ctx, func(pgx.Tx) (step, error) { return s, nil })
		return s, took, err
	}
	s.repaired = s.differing
	s, _, err = w.correct(ctx, index, source, from, differing, s)
	return s, took, err
}

// correct reads the rows of some keys again, and writes those that differ to the mirror.
func (w *worker) correct(
	ctx context.Context, index int, source plan.Source, from *postgres.DB, some roots, s step,
) (step, time.Duration, error) {
	return w.fresh(ctx, source, from, func(tx pgx.Tx, position int64) (step, error) {
		wanted, present, differing, err := w.unlike(ctx, tx, source, from, some)
		if err != nil {
			return s, err
		}
		changes := make([]change.Change, len(differing))
		for i, key := range differing {
			if row, has := wanted[joined(key)]; has {
				changes[i] = row.change(source, change.Insert, position)
			} else {
				changes[i] = present[joined(key)].change(source, change.Delete, position)
			}
		}
		_, err = w.deliver(ctx, tx, index, changes)
		return s, err
	})
}

// rowsOf reads the next rows of a table, and returns the keys of those that its mirror does not have like this.
func (w *worker) rowsOf(ctx context.Context, source plan.Source, from *postgres.DB, size int64) (step, roots, error) {
	rows, err := w.readSource(ctx, from, source.Chunk(w.task.Cursor != nil), append(texts(w.task.Cursor), size)...)
	if err != nil {
		return step{}, nil, err
	}
	present, err := readRows(ctx, w.DB, false, source.Present(), keys(rows).arrays(len(source.Key))...)
	if err != nil {
		return step{}, nil, fmt.Errorf("read the copy: %w", err)
	}
	s := w.after(rows, size)
	s.copied = int64(len(rows))
	return s, unequal(keys(rows), byKey(rows), byKey(present)), nil
}

// keysOf reads the next keys of a mirror, and returns those that its table does not have.
func (w *worker) keysOf(ctx context.Context, source plan.Source, from *postgres.DB, size int64) (step, roots, error) {
	rows, err := readRows(ctx, w.DB, false, source.MirrorChunk(w.task.Cursor != nil), append(texts(w.task.Cursor), size)...)
	if err != nil {
		return step{}, nil, fmt.Errorf("read the copy: %w", err)
	}
	gone, err := absent(ctx, from, source, rows)
	return w.after(rows, size), keys(gone), err
}

// after returns the step that ends after rows that were read.
func (w *worker) after(rows []readRow, size int64) step {
	s := step{cursor: w.task.Cursor, end: int64(len(rows)) < size}
	if len(rows) > 0 {
		s.cursor = rows[len(rows)-1].key
	}
	return s
}

// unlike reads the rows of some keys in a table and in its mirror, and returns them with the keys whose rows differ.
func (w *worker) unlike(
	ctx context.Context, on postgres.DBTX, source plan.Source, from *postgres.DB, some roots,
) (wanted, present map[string]readRow, differing roots, err error) {
	theirs, err := w.readSource(ctx, from, source.Rows(), some.arrays(len(source.Key))...)
	if err != nil {
		return nil, nil, nil, err
	}
	ours, err := readRows(ctx, on, false, source.Present(), some.arrays(len(source.Key))...)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read the copy: %w", err)
	}
	wanted, present = byKey(theirs), byKey(ours)
	return wanted, present, unequal(some, wanted, present), nil
}

func keys(rows []readRow) roots {
	all := make(roots, len(rows))
	for i, r := range rows {
		all[i] = r.key
	}
	return all
}

func byKey(rows []readRow) map[string]readRow {
	all := make(map[string]readRow, len(rows))
	for _, r := range rows {
		all[joined(r.key)] = r
	}
	return all
}

// unequal returns the keys that have a row on one side only, or different rows.
func unequal(some roots, wanted, present map[string]readRow) (differing roots) {
	for _, key := range some {
		a, has := wanted[joined(key)]
		b, is := present[joined(key)]
		if has != is || has && !equalRows(a.row, b.row) {
			differing = append(differing, key)
		}
	}
	return differing
}

// equalRows reports whether two rows have the same values. The triggers of capture write json as jsonb, so blanks and the order of its keys do
// not count.
func equalRows(a, b json.RawMessage) bool {
	if string(a) == string(b) {
		return true
	}
	values := func(document json.RawMessage) (value any, err error) {
		decoder := json.NewDecoder(strings.NewReader(string(document)))
		decoder.UseNumber()
		err = decoder.Decode(&value)
		return value, err
	}
	first, err := values(a)
	second, errSecond := values(b)
	return err == nil && errSecond == nil && reflect.DeepEqual(first, second)
}
