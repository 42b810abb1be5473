package view

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/watermark"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// A task that copies rows of another database may read transactions that are not in the log yet. If that database became an older copy of itself
// now, nothing in the log would show that, and the mirror would keep rows that no longer exist. So after the rows of each chunk, the task writes
// a watermark into the database, and it ends when all of them have landed: from then on, the stream notices that the database was restored. If a
// watermark lands without an earlier one, the database was restored in between, and the view is built again.

const (
	// landsWithin is how long a turn waits for watermarks. After that, the stream is probably being taken over, and the next turn waits again.
	landsWithin = 5 * time.Second
	landsPoll   = 10 * time.Millisecond
	// doubtful is how long watermarks have not landed until the task writes later ones, which show whether they were lost.
	doubtful = time.Second
	// mostUnlanded is how many watermarks of a task may not have landed. If there are more, it waits.
	mostUnlanded = 100
)

// errRestored says that a database no longer has what a task read from it.
var errRestored = errors.New("the database was restored from a backup after its rows were copied, so the view is built again")

// mark writes a watermark into the database of a stream.
func (w *worker) mark(ctx context.Context, stream string, from *postgres.DB) (token string, err error) {
	row, err := db.New(w.DB).SnapshotStream(ctx, stream)
	if err != nil {
		return "", fmt.Errorf("read stream %s: %w", stream, err)
	}
	if row.State != "running" {
		return "", &waitError{"changes of database " + stream + " are read"}
	}
	return watermark.Write(ctx, from, watermark.Stream{ID: row.ID, Name: stream, Mode: row.Mode})
}

// settle waits until at most some watermarks have not landed. It returns errRestored if one never will.
func (w *worker) settle(ctx context.Context, most int) error {
	began := w.clock().Now()
	var later []string
	for len(w.task.watermarks) > 0 {
		landed, err := watermark.Landed(ctx, w.DB, slices.Concat(w.task.watermarks, later))
		if err != nil {
			return err
		}
		has := func(token string) bool { return slices.Contains(landed, token) }
		for i, token := range w.task.watermarks {
			passed := func(other string) bool { return has(other) && watermark.Of(other) == watermark.Of(token) }
			if !has(token) && (slices.ContainsFunc(w.task.watermarks[i:], passed) || slices.ContainsFunc(later, passed)) {
				return errRestored // A watermark lands before a later one, or together with it.
			}
		}
		w.task.watermarks = slices.DeleteFunc(w.task.watermarks, has)
		waited := w.clock().Now().Sub(began)
		switch {
		case len(w.task.watermarks) <= most:
			return nil
		case waited > landsWithin:
			return &waitError{"the log has the changes of the databases that it has copied"}
		case waited > doubtful && later == nil:
			for _, table := range w.captured() {
				source, from, err := w.table(ctx, table)
				if err != nil {
					return err
				}
				token, err := w.mark(ctx, source.Stream, from)
				if err != nil {
					return err
				}
				later = append(later, token)
			}
		}
		if err := w.clock().Sleep(ctx, landsPoll); err != nil {
			return err
		}
	}
	return nil
}

// restored builds the view again, and ends the task.
func (w *worker) restored(ctx context.Context) error {
	if _, err := w.Rebuild(ctx, w.turn.View, audit.Who{Via: audit.ViaCron}); err != nil {
		return err
	}
	if w.version.State == Building {
		return nil // The new build has replaced this one, and canceled it.
	}
	return w.DB.Tx(ctx, func(tx pgx.Tx) error {
		_, err := db.New(tx).ViewTaskFinish(ctx, db.ViewTaskFinishParams{ID: w.task.ID, Fence: w.lease.Term.ID, State: Failed, Error: errRestored.Error()})
		if err != nil {
			return fmt.Errorf("finish task %d: %w", w.task.ID, err)
		}
		return nil
	})
}
