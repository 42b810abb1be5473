package view

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
	"github.com/daymill/daymill/internal/view/plan"
)

// bounds are the parameters of a range after the cursor, up to a key or to the end.
func (w *worker) bounds(upper []string) []any {
	arguments := make([]any, 0, len(w.task.Cursor)+len(upper))
	for _, text := range w.task.Cursor {
		arguments = append(arguments, text)
	}
	for _, text := range upper {
		arguments = append(arguments, text)
	}
	return arguments
}

// span is the step from the cursor to a root key.
func (w *worker) span(upper []string, count int64) step {
	if upper == nil {
		return step{cursor: w.task.Cursor, done: count, end: true}
	}
	return step{cursor: upper, done: count}
}

// upper returns the root key at the end of a chunk, and how many keys the root has up to it. The key is nil for the last chunk. A chunk ends early if the
// view's table has more keys than the root, such as of rows that were deleted, so that no chunk has to handle all of these.
func (w *worker) upper(ctx context.Context, size int64) (upper []string, count int64, err error) {
	session, err := w.DB.Session(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer session.Release(ctx)
	p, lower := w.version.Plan, w.task.Cursor != nil
	next := p.Reach(w.version.Table, lower)
	if p.Filling { // The table has only keys before the cursor, and no index.
		next = p.Next(lower)
	}
	err = session.Walk(ctx, w.size.Limit(), func(ctx context.Context, on postgres.DBTX) error {
		found, err := query(ctx, on, next, append(w.bounds(nil), size-1)...)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			upper = found[0]
		}
		arguments := append([]any{pgx.QueryExecModeCacheDescribe}, w.bounds(upper)...)
		return on.QueryRow(ctx, p.Count(lower, upper != nil), arguments...).Scan(&count)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("find the next root keys: %w", err)
	}
	return upper, count, nil
}

// build fills the next range of root keys.
func (w *worker) build(ctx context.Context, size int64) (step, time.Duration, error) {
	upper, count, err := w.upper(ctx, size)
	if err != nil {
		return step{}, 0, err
	}
	s := w.span(upper, count)
	return w.locked(ctx, func(tx pgx.Tx) (step, error) {
		remove, insert := w.version.Plan.RefreshRange(w.version.Table, w.task.Cursor != nil, upper != nil)
		var err error
		switch {
		case !w.version.Plan.Filling:
			err = execute(ctx, tx, remove, w.bounds(upper)...)
		case w.task.Cursor == nil: // Only an earlier attempt of this build may have inserted rows.
			err = execute(ctx, tx, "TRUNCATE "+plan.Table(w.version.Table))
		}
		if err == nil {
			err = execute(ctx, tx, insert, w.bounds(upper)...)
		}
		if err != nil {
			return s, fmt.Errorf("fill %s: %w", w.version.Table, err)
		}
		return s, nil
	})
}

// refresh refreshes the next root keys that the task's keys affect. Each chunk looks for all of them after the cursor, because only an index
// of the application could return them in the order of the root's key. If they are so many that this takes too long, the turn walks
// through the root's keys instead, as a build does, and looks for those in a range.
func (w *worker) refresh(ctx context.Context, size int64) (s step, took time.Duration, err error) {
	var upper []string
	if w.walks {
		if upper, _, err = w.upper(ctx, size); err != nil {
			return step{}, 0, err
		}
	}
	return w.locked(ctx, func(tx pgx.Tx) (step, error) {
		arguments := []any{}
		if w.task.keyed {
			if len(w.task.Keys) == 0 {
				return step{end: true}, nil
			}
			columns, err := w.columns()
			if err != nil {
				return step{}, err
			}
			arguments = w.task.Keys.arrays(columns)
		}
		found, err := w.touched(ctx, tx, arguments, upper, size)
		if err != nil {
			return step{}, err
		}
		s := step{cursor: w.task.Cursor, done: int64(len(found)), end: int64(len(found)) < size && upper == nil}
		switch {
		case int64(len(found)) < size && upper != nil:
			s.cursor = upper
		case len(found) > 0:
			s.cursor = found[len(found)-1]
		}
		if len(found) > 0 {
			if err := db.New(tx).ViewRefreshed(ctx, db.ViewRefreshedParams{ID: w.task.View, Roots: s.done}); err != nil {
				return s, fmt.Errorf("record a refresh: %w", err)
			}
		}
		return s, w.version.refresh(ctx, tx, found)
	})
}

// touched returns the next root keys that the task's keys affect, up to a key if upper is set.
func (w *worker) touched(ctx context.Context, tx pgx.Tx, keys []any, upper []string, size int64) (found roots, err error) {
	// Without keys, an index returns them in order. With keys, a smaller chunk takes as long, so a longer limit is no help.
	mayWalk := w.task.keyed && !w.walks
	bounded := mayWalk && w.size.Limit() > pace.Limit
	if bounded {
		err = limit(ctx, tx, pace.Limit)
	}
	if err == nil {
		within := plan.Range{Lower: w.task.Cursor != nil, Upper: upper != nil, Walk: w.walks}
		sql := w.version.Plan.Touched(w.task.Table, w.version.Table, w.task.keyed, within)
		found, err = query(ctx, tx, sql, append(append(keys, w.bounds(upper)...), size)...)
	}
	if postgres.IsTimeout(err) && mayWalk {
		w.walks = true
		w.resize()
	}
	if err != nil {
		return nil, fmt.Errorf("find the rows of %s to refresh: %w", w.version.Table, err)
	}
	if bounded {
		err = limit(ctx, tx, w.size.Limit())
	}
	return found, err
}

// drop removes keys of changes that are not values of the key's type, and requests that all rows are read instead. Those that a user has given are errors.
func (w *worker) drop(ctx context.Context) error {
	if w.task.Kind != TaskRefresh || w.task.Via != viaCapture || len(w.task.Keys) == 0 {
		return nil
	}
	if _, err := w.columns(); err != nil {
		return err
	}
	fit, err := w.version.fitting(ctx, w.DB, w.task.Table, w.task.Keys)
	if err != nil && !odd(err) || len(fit) == len(w.task.Keys) {
		return err
	}
	w.task.Keys = fit
	return w.DB.Tx(ctx, func(tx pgx.Tx) error { return whole(ctx, tx, w.version, TaskBuild) })
}

// columns returns the number of columns in the keys of a task, which are those of its table's key.
func (w *worker) columns() (int, error) {
	columns := len(w.version.Plan.Sources[w.task.Table].Key)
	for _, key := range w.task.Keys {
		if len(key) != columns {
			return 0, fmt.Errorf("a key has %s, and the key of %s has %d", text.Plural(int64(len(key)), "column"), w.version.Plan.Definition.Tables[w.task.Table].Alias(), columns)
		}
	}
	return columns, nil
}
