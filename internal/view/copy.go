package view

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/watermark"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// A build copies tables of other databases to their mirrors, chunk by chunk, while changes of these tables are delivered there. A change may
// lack values that it did not touch, and arrive before its row is copied, so a chunk must overwrite what is there. Therefore each chunk is one
// transaction that first locks the view, so that nothing is delivered until it ends, and then reads: the rows are at least as new as everything that was
// delivered. They get the position that was delivered, and later changes follow, including those that the rows already have.

// mostCopied is the maximum size of a chunk, in rows. They are in memory, and may be long.
const mostCopied = 2000

// copies returns how many stages of a build copy tables.
func (w *worker) copies() int {
	if w.task.Kind != TaskBuild {
		return 0
	}
	return len(w.version.Plan.Mirrored())
}

// table returns a table of the view with the columns that the view needs, and its database.
func (w *worker) table(ctx context.Context, index int) (plan.Source, *postgres.DB, error) {
	from, _, err := w.Databases.Open(ctx, w.version.Plan.Definition.Tables[index].Database)
	return w.version.Plan.Needed(index), from, err
}

// copy copies the next rows of a table to its mirror.
func (w *worker) copy(ctx context.Context, size int64) (s step, took time.Duration, err error) {
	index := w.version.Plan.Mirrored()[w.task.Stage]
	source, from, err := w.table(ctx, index)
	if err != nil {
		return s, 0, err
	}
	if source.Scheduled && w.task.Cursor == nil {
		if err := w.stand(ctx, index, from); err != nil {
			return s, 0, err
		}
	}
	if !source.Scheduled && w.task.Cursor == nil && w.version.State == Building {
		if err := w.bar(ctx, source, from); err != nil {
			return s, 0, err
		}
		source = w.version.Plan.Needed(index)
	}
	s, took, err = w.fresh(ctx, source, from, func(tx pgx.Tx, position int64) (step, error) {
		rows, err := w.readSource(ctx, from, source.Chunk(w.task.Cursor != nil), append(texts(w.task.Cursor), size)...)
		if err != nil {
			return step{}, err
		}
		s := step{cursor: w.task.Cursor, copied: int64(len(rows)), end: int64(len(rows)) < size}
		if len(rows) > 0 {
			s.cursor = rows[len(rows)-1].key
		}
		changes := make([]change.Change, len(rows))
		for i, r := range rows {
			changes[i] = r.change(source, change.Insert, position)
		}
		return s, w.mirror(ctx, tx, index, changes)
	})
	if err != nil {
		return s, took, fmt.Errorf("copy %s.%s of database %s: %w", source.Schema, source.Name, w.version.Plan.Definition.Tables[index].Database, err)
	}
	return s, took, nil
}

// errOpen is the error of a chunk that would not see everything that was delivered.
var errOpen = &waitError{"rows are visible whose changes were delivered: their transaction may be waiting for a synchronous standby"}

// fresh runs do in a transaction that locks the view, so that rows that do reads are at least as new as everything that was delivered. position is the one
// that the rows get.
func (w *worker) fresh(
	ctx context.Context, source plan.Source, from *postgres.DB, do func(tx pgx.Tx, position int64) (step, error),
) (s step, took time.Duration, err error) {
	var looked int64
	if source.Scheduled {
		if looked, err = w.look(ctx); err != nil {
			return s, 0, err
		}
	}
	until := w.clock().Now().Add(visibleMost)
	for {
		s, took, err = w.locked(ctx, func(tx pgx.Tx) (step, error) {
			if source.Scheduled {
				return do(tx, looked)
			}
			position, err := w.delivered(ctx, tx, source, from)
			if err != nil {
				return step{}, err
			}
			s, err := do(tx, position)
			if err != nil || s.copied+s.repaired == 0 { // It has read nothing.
				return s, err
			}
			token, err := w.mark(ctx, source.Stream, from)
			if err == nil {
				w.task.watermarks = append(w.task.watermarks, token) // They are stored with the cursor.
			}
			return s, err
		})
		if !errors.Is(err, errOpen) || w.clock().Now().After(until) {
			return s, took, err
		}
		if err := w.clock().Sleep(ctx, visiblePoll); err != nil {
			return s, took, err
		}
	}
}

// bar keeps changes that are older than the copy out of an empty mirror. They may be about other columns of the same names, or about another table of the
// same name, so the mirror could keep what the table does not have.
func (w *worker) bar(ctx context.Context, source plan.Source, from *postgres.DB) error {
	versions, err := Versions(ctx, w.DB, w.task.View)
	if err == nil && len(versions) > 1 { // Perhaps because names have changed a moment ago.
		err = w.pass(ctx, source.Stream, from)
	}
	if err != nil {
		return err
	}
	return w.revise(ctx, func(tx pgx.Tx, p *plan.Plan) error {
		head, err := db.New(tx).StreamHead(ctx, source.Stream)
		if err != nil {
			return fmt.Errorf("read stream %s: %w", source.Stream, err)
		}
		for i := range p.Sources {
			if p.Sources[i].Mirror == source.Mirror {
				p.Sources[i].After = head.Position
			}
		}
		if _, err := tx.Exec(ctx, "TRUNCATE "+pgx.Identifier{plan.MirrorSchema, source.Mirror}.Sanitize()); err != nil {
			return fmt.Errorf("empty a mirror: %w", err)
		}
		return nil
	})
}

// pass waits until all changes have landed that were made in a database before.
func (w *worker) pass(ctx context.Context, stream string, from *postgres.DB) error {
	token, err := w.mark(ctx, stream, from)
	if err != nil {
		return err
	}
	until := w.clock().Now().Add(landsWithin)
	for {
		landed, err := watermark.Take(ctx, w.DB, token)
		switch {
		case err != nil || landed:
			return err
		case w.clock().Now().After(until):
			return &waitError{"the log has the changes of database " + stream}
		}
		if err := w.clock().Sleep(ctx, landsPoll); err != nil {
			return err
		}
	}
}

// delivered returns the position up to which the view has received the changes of a table's stream, or does not need them. It returns errOpen if statements
// in its database do not see all of these changes yet. The caller has locked the view.
func (w *worker) delivered(ctx context.Context, tx pgx.Tx, source plan.Source, from *postgres.DB) (position int64, err error) {
	stream := source.Stream
	position, err = db.New(tx).ViewDelivered(ctx, View{ID: w.task.View}.Consumer(stream))
	if err != nil {
		return 0, fmt.Errorf("read the position of stream %s: %w", stream, err)
	}
	position = max(position, source.After)
	settled := false
	err = from.Read(ctx, func(on postgres.DBTX) error {
		settled, err = log.Settled(ctx, tx, on, stream, w.settled[stream], position)
		return err
	})
	if err == nil && !settled {
		err = errOpen
	}
	if err != nil {
		return 0, err
	}
	w.settled[stream] = position
	return position, nil
}

// look returns the position of rows that are read on a schedule from now on.
func (w *worker) look(ctx context.Context) (position int64, err error) {
	err = w.DB.Tx(ctx, func(tx pgx.Tx) error {
		position, err = db.New(tx).VersionLook(ctx, w.version.ID)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read a position: %w", err)
	}
	return position, nil
}

// readSource runs a statement of package plan that reads rows of another database.
func (w *worker) readSource(ctx context.Context, from *postgres.DB, sql string, arguments ...any) (rows []readRow, err error) {
	err = from.ReadTx(ctx, func(tx pgx.Tx) error {
		if err := limit(ctx, tx, w.size.Limit()); err != nil {
			return err
		}
		rows, err = readRows(ctx, tx, false, sql, arguments...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	return rows, nil
}

// mirror writes changes of a table to its mirror. They overwrite rows of the same position.
func (w *worker) mirror(ctx context.Context, tx pgx.Tx, table int, changes []change.Change) error {
	m := newMirror(w.DB, w.version.Plan.Sources[table].Stream, true)
	copied := make([]change.Change, len(changes))
	for i, c := range changes {
		var err error
		if copied[i], err = m.shape(w.version.Plan, table, c); err != nil {
			return err
		}
	}
	return m.write(ctx, tx, copied)
}
