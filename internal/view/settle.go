package view

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/watermark"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/postgres"
)

// A task that copies rows of another database may read transactions that are not in the log yet. If that database became an older copy of itself
// now, nothing in the log would show that, and the mirror would keep rows that no longer exist. So after the last row, the task writes a watermark
// into the database, and ends when the watermark has landed: from then on, the stream notices that the database was restored. If another
// watermark, written later, lands without the first one, the database was restored in between, and the view is built again.

const (
	// landsWithin is how long a turn waits for a watermark. After that, the stream is probably being taken over, and the next turn waits again.
	landsWithin = 5 * time.Second
	landsPoll   = 10 * time.Millisecond
)

// errRestored says that a database no longer has what a task read from it.
var errRestored = errors.New("the database was restored from a backup after its rows were copied")

// settle waits until the log has what the task has read from other databases. It returns errRestored if it never will.
func (w *worker) settle(ctx context.Context) error {
	if w.task.Kind != TaskBuild && (w.task.Kind != TaskVerify || w.task.Repaired+w.turn.Repaired == 0) {
		return nil
	}
	var tables []int // one of each stream
	for _, index := range w.captured() {
		if !slices.ContainsFunc(tables, func(other int) bool { return w.stream(other) == w.stream(index) }) {
			tables = append(tables, index)
		}
	}
	again := len(w.task.watermarks) > 0
	later := make([]string, len(tables))
	for i, index := range tables {
		var err error
		if later[i], err = w.mark(ctx, index); err != nil {
			return err
		}
	}
	if !again && len(tables) > 0 {
		err := w.transact(ctx, func(ctx context.Context, queries *db.Queries) error {
			return lease.Fenced(queries.ViewTaskWatermarks(ctx, db.ViewTaskWatermarksParams{ID: w.task.ID, Fence: w.lease.Term.ID, Watermarks: later}))
		})
		if err != nil {
			return err
		}
		w.task.watermarks = later
	}
	for i, index := range tables {
		if err := w.landed(ctx, w.task.watermarks[i], later[i], w.stream(index)); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) stream(table int) string { return w.version.Plan.Sources[table].Stream }

// mark writes a watermark into the database of a table.
func (w *worker) mark(ctx context.Context, table int) (token string, err error) {
	row, err := db.New(w.DB).SnapshotStream(ctx, w.stream(table))
	if err != nil {
		return "", err
	}
	if row.State != "running" {
		return "", &waitError{"it waits until changes of database " + w.stream(table) + " are read"}
	}
	from, _, err := w.Databases.Open(ctx, w.version.Plan.Definition.Tables[table].Database)
	if err != nil {
		return "", err
	}
	return watermark.Write(ctx, from, w.stream(table), row.Mode)
}

// landed waits until a watermark has landed, or a later one has.
func (w *worker) landed(ctx context.Context, token, later, stream string) error {
	until := w.clock().Now().Add(landsWithin)
	for {
		var passed, is bool
		err := w.DB.Read(ctx, func(on postgres.DBTX) (err error) {
			if passed, err = watermark.Landed(ctx, on, later); err == nil { // The first one lands before the later one, or together with it.
				is, err = watermark.Landed(ctx, on, token)
			}
			return err
		})
		switch {
		case err != nil || is:
			return err
		case passed:
			return errRestored
		case w.clock().Now().After(until):
			return &waitError{"it waits until changes of database " + stream + " are in the log"}
		}
		if err := w.clock().Sleep(ctx, landsPoll); err != nil {
			return err
		}
	}
}

// end ends a task whose last chunk is done. A turn that begins here repeats what an earlier one has done.
func (w *worker) end(ctx context.Context) error {
	err := w.settle(ctx)
	if errors.Is(err, errRestored) {
		_, err = w.Rebuild(ctx, w.turn.View, audit.Who{Via: audit.ViaCron})
		if err == nil && w.version.State == Building {
			return nil // The new build has replaced this one.
		}
	}
	if err != nil {
		return err
	}
	if w.task.Kind == TaskBuild && w.version.Plan.Filling {
		if err := w.index(ctx); err != nil {
			return err
		}
	}
	if w.task.Kind == TaskBuild && w.version.State == Building {
		if err := w.catchUp(ctx); err != nil {
			return err
		}
	}
	return w.finish(ctx)
}
