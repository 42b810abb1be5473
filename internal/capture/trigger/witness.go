package trigger

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// The witness is a number in the source. After the reader has taken the snapshot that it reads, it adds one to the witness, on disk, and only
// then do changes of that snapshot land, with a mark that has the new number. So a source whose witness is that of the mark has everything that
// was read. A source that was restored from an older backup has an earlier number, however many transactions it has had since, and a crash of
// the source cannot undo what has landed. The witness is a sequence because that has no row versions to clean up.

//go:embed witness.sql
var witnessSQL string

// Reasons why the reader cannot go on.
var (
	// ErrRestored says that the source does not have everything that was read from it, or has changes that were read and are not in the log.
	ErrRestored = errors.New("the source and what was read from it do not belong together: the source, or Daymill's database, was restored from a backup")
	// ErrAgain says that a new reader has to begin at the mark in the log. It finds out whether the source was restored.
	ErrAgain = errors.New("another process reads the source, or it was restored: the reader begins again where changes have landed")
)

// idleXIDs is how many transactions the source may have without changes until the mark moves: the index of the queue is read from the mark on.
const idleXIDs = 1000

// Begin accepts the current queue, resets the count of changes that could not be written to it, and returns the mark from which to read it.
// The caller has recorded the gap.
func Begin(ctx context.Context, source *postgres.DB, schema string) (m Mark, err error) {
	// It is random, so that no backup has it. With a small number, the reader could take another history of the source for its own.
	m.Witness = 1 + rand.Int64N(1<<62)
	err = source.Tx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, postgres.Local{"synchronous_commit": "on"}.SQL()+";"+in(schema, `
			UPDATE daymill_capture.control SET file_0 = pg_catalog.pg_relation_filenode('daymill_capture.queue_0'),
				file_1 = pg_catalog.pg_relation_filenode('daymill_capture.queue_1');
			SELECT pg_catalog.setval('daymill_capture.failures', 1, false)`))
		if err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, "SELECT pg_catalog.pg_current_snapshot()::text").Scan(&m.Seen); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, in(schema, "SELECT pg_catalog.setval('daymill_capture.witness', $1)"), m.Witness)
		return err
	})
	if err != nil {
		err = fmt.Errorf("accept the current queue: %w", err)
	}
	return m, err
}

// recognize returns an error if the source does not have what was read from it.
func (r *Reader) recognize(ctx context.Context, witness int64) error {
	first := !r.looked
	r.looked = true
	switch {
	case witness == r.witness:
		return nil
	case !first:
		return ErrAgain
	case r.witness == 0: // The mark is of an earlier version.
		r.witness = witness
		return nil
	case witness == r.witness+1:
		// A reader has written it, and then its changes have not landed. The mark gets it now: the next reader may end the same way.
		r.witness, r.witnessed = witness, true
		return r.land(ctx, nil, Batch{Mark: r.mark})
	}
	return ErrRestored
}

// land lands a batch. The first one of a turn needs a new witness. If tx is not nil, it has the snapshot that was read.
func (r *Reader) land(ctx context.Context, tx pgx.Tx, batch Batch) error {
	if !r.witnessed {
		if err := r.bear(ctx); err != nil {
			return err
		}
		// If the source has crashed between the snapshot and the witness, this transaction is gone.
		if tx != nil {
			if _, err := tx.Exec(ctx, "SELECT"); err != nil {
				return fmt.Errorf("check the snapshot of the source: %w", err)
			}
		}
		r.witnessed = true
	}
	batch.Mark.Witness = r.witness
	return r.config.Land(ctx, batch)
}

// bear writes the next witness.
func (r *Reader) bear(ctx context.Context) error {
	tag, err := r.config.Source.Exec(ctx, postgres.Local{"synchronous_commit": "on"}.SQL()+"; "+in(r.config.Schema,
		"SELECT pg_catalog.setval('daymill_capture.witness', w.last_value + 1) FROM daymill_capture.witness AS w WHERE w.last_value = "+strconv.FormatInt(r.witness, 10)),
		pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return fmt.Errorf("write the witness to the source: %w", err)
	}
	if tag.RowsAffected() != 1 {
		return ErrAgain
	}
	r.witness++
	return nil
}

// idle lands the mark of a turn without changes if the source has had many transactions since the last mark. Otherwise the mark stays: what it
// has passed would not be on disk.
func (r *Reader) idle(ctx context.Context, tx pgx.Tx, next string) error {
	if oldest(next)-oldest(r.mark.Seen) < idleXIDs {
		r.mark.Next, r.mark.Seq = "", 0
		return nil
	}
	if err := r.land(ctx, tx, Batch{Mark: Mark{Seen: next}}); err != nil {
		return err
	}
	r.mark = Mark{Seen: next}
	return nil
}

// oldest returns the oldest transaction that runs in a snapshot.
func oldest(snapshot string) int64 {
	text, _, _ := strings.Cut(snapshot, ":")
	xid, _ := strconv.ParseInt(text, 10, 64) // Postgres wrote it.
	return xid
}
