package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// The first build of a table only inserts: the table has no index yet, and changes in the meantime become tasks. That is twice as fast as
// updating indexes row by row, especially those of joined keys, which are not in the order of the root's. When all rows are there, the
// build creates the indexes, which blocks nobody because nobody uses the table yet. Then it applies the waiting changes, and then the
// table serves.

// beatEvery is how often a worker records that it is alive while it creates indexes.
const beatEvery = 5 * time.Second

// Tables with more rows have their indexes from the beginning: the statement that creates an index takes longer for a larger table, and a
// turn has two minutes.
const (
	mostFilled   = 20_000_000
	mostSearched = 2_000_000 // with a GIN index
)

// fills reports whether the task is the one that fills its table: the first build that has not failed.
func (w *worker) fills(ctx context.Context) (bool, error) {
	if w.task.Kind != TaskBuild {
		return false, nil
	}
	id, err := db.New(w.DB).ViewTaskFiller(ctx, w.version.ID)
	if err != nil {
		return false, fmt.Errorf("find the task that fills %s: %w", w.version.Table, err)
	}
	return id == w.task.ID, nil
}

// index creates the indexes of a table that is filled.
func (w *worker) index(ctx context.Context) error {
	if err := w.lease.Keep(ctx, beatEvery, w.makeIndexes); err != nil {
		return err
	}
	return w.filled(ctx)
}

// makeIndexes creates the missing indexes, each in its own transaction.
func (w *worker) makeIndexes(ctx context.Context) error {
	all := w.version.Plan.CreateIndexes(w.version.Table)
	next := 0
	for next < len(all) {
		err := w.DB.Tx(ctx, func(tx pgx.Tx) error {
			if err := postgres.SetLocal(ctx, tx, postgres.Local{"statement_timeout": "0"}); err != nil {
				return err
			}
			err := tx.QueryRow(ctx, "SELECT count(*) FROM pg_catalog.pg_index WHERE indrelid = pg_catalog.to_regclass($1)", plan.Table(w.version.Table)).Scan(&next)
			if err != nil || next >= len(all) {
				return err
			}
			_, err = tx.Exec(ctx, all[next])
			next++
			return err
		})
		if err != nil {
			return fmt.Errorf("create the indexes of %s: %w", w.version.Table, err)
		}
	}
	return nil
}

// analyze gives the planner statistics of a table that is complete. Without them, it takes keys for far less selective than they are, and a
// refresh of a hundred keys reads the whole table, until autovacuum comes, if it does.
func (w *worker) analyze(ctx context.Context, name ...string) error {
	return w.lease.Keep(ctx, beatEvery, func(ctx context.Context) error {
		err := w.DB.Tx(ctx, func(tx pgx.Tx) error {
			err := postgres.SetLocal(ctx, tx, postgres.Local{"statement_timeout": "0"})
			if err == nil {
				_, err = tx.Exec(ctx, "ANALYZE "+pgx.Identifier(name).Sanitize())
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("analyze %s: %w", strings.Join(name, "."), err)
		}
		return nil
	})
}

// filled records that the table is filled, so changes refresh it from now on.
func (w *worker) filled(ctx context.Context) error {
	return w.revise(ctx, func(tx pgx.Tx, p *plan.Plan) error {
		p.Filling = false
		if err := db.New(tx).ViewTaskUnhold(ctx, w.version.ID); err != nil {
			return fmt.Errorf("release the waiting changes: %w", err)
		}
		return nil
	})
}

// revise changes the plan of the task's table, in one transaction with what else is done.
func (w *worker) revise(ctx context.Context, do func(tx pgx.Tx, p *plan.Plan) error) error {
	return w.DB.Tx(ctx, func(tx pgx.Tx) error {
		if err := lock(ctx, tx, w.task.View); err != nil {
			return err
		}
		if err := w.lease.Fence(ctx, db.New(tx)); err != nil {
			return err
		}
		versions, err := Versions(ctx, tx, w.task.View) // The view may have followed drift in the meantime.
		if err != nil {
			return err
		}
		at := slices.IndexFunc(versions, func(v Version) bool { return v.ID == w.version.ID })
		if at < 0 {
			return lease.ErrFenced
		}
		if err := do(tx, versions[at].Plan); err != nil {
			return err
		}
		document, err := marshal(versions[at].Plan)
		if err != nil {
			return err
		}
		if err := db.New(tx).VersionPlan(ctx, db.VersionPlanParams{ID: w.version.ID, Plan: document}); err != nil {
			return fmt.Errorf("write the plan of view %s: %w", w.turn.View, err)
		}
		w.version = versions[at]
		return nil
	})
}

// catchUp works on the refreshes that waited while the table was filled.
func (w *worker) catchUp(ctx context.Context) error {
	for {
		waiting, err := db.New(w.DB).ViewTaskWaiting(ctx, w.version.ID)
		if err != nil {
			return fmt.Errorf("find the waiting changes: %w", err)
		}
		if len(waiting) == 0 {
			return nil
		}
		for _, id := range waiting {
			for more := true; more; {
				if more, err = w.Work(ctx, id); err != nil && !errors.Is(err, lease.ErrFenced) {
					return err
				}
			}
			if err := w.lease.Beat(ctx); err != nil {
				return err
			}
		}
		after, err := db.New(w.DB).ViewTaskWaiting(ctx, w.version.ID)
		if err != nil {
			return fmt.Errorf("find the waiting changes: %w", err)
		}
		if slices.Equal(waiting, after) {
			return &waitError{"changes from the time when the table was filled are applied"}
		}
	}
}

// held is the maximum number of keys of a waiting task.
const held = 1000

// hold inserts a task for changed rows of a table, which waits until the view's table is filled. The caller has locked the view.
func hold(ctx context.Context, tx pgx.Tx, v Version, table int, keys roots) (err error) {
	queries := db.New(tx)
	var document []byte
	if keys != nil {
		if document, err = json.Marshal(keys); err != nil {
			return fmt.Errorf("write the keys of a task: %w", err)
		}
		merged, err := queries.ViewTaskMerge(ctx, db.ViewTaskMergeParams{VersionID: v.ID, TableIndex: int32(table), Keys: document, MaxKeys: held}) //nolint:gosec // A small number.
		if err != nil || merged > 0 {
			return err
		}
	}
	err = queries.ViewTaskHold(ctx, db.ViewTaskHoldParams{ViewID: v.View, VersionID: v.ID, TableIndex: int32(table), Keys: document}) //nolint:gosec // As above.
	if err != nil {
		return fmt.Errorf("record what has changed: %w", err)
	}
	return nil
}
