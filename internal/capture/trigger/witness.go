package trigger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// The witness is a number in the source, kept in a sequence because that has no row versions to clean up. The reader adds one to it after it
// has taken the snapshot that it reads, and before changes of that snapshot land with a mark that has the new number. So a source whose
// witness is that of the mark has everything that was read, and has it on disk. A source that was restored from an older backup, or has lost
// its last transactions in a crash, has an earlier number, however many transactions it has had since.

// ErrRestarted makes the owner begin at the mark in the log: what was read since then may not have been on disk.
var ErrRestarted = errors.New("the source was restarted: the reader begins again where changes have landed")

// Begin accepts the current queue, resets the count of changes that could not be written to it, and returns the mark from which to read it.
// The caller has recorded the gap.
func Begin(ctx context.Context, source *postgres.DB, schema string) (m Mark, err error) {
	err = source.Tx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, in(schema, `
			UPDATE daymill_capture.control SET file_0 = pg_catalog.pg_relation_filenode('daymill_capture.queue_0'),
				file_1 = pg_catalog.pg_relation_filenode('daymill_capture.queue_1');
			SELECT pg_catalog.setval('daymill_capture.failures', 1, false)`))
		return err
	})
	if err != nil {
		return m, fmt.Errorf("accept the current queue: %w", err)
	}
	if err := source.QueryRow(ctx, "SELECT pg_catalog.pg_current_snapshot()::text").Scan(&m.Seen); err != nil {
		return m, fmt.Errorf("take a snapshot of the source: %w", err)
	}
	// A number that no backup has: there, the reader would take another history of the source for its own.
	m.Witness = 1 + rand.Int64N(1<<62)
	_, err = write(ctx, source, schema, m.Witness, "true")
	return m, err
}

// write writes a witness if a condition on the current one, w.last_value, is true.
func write(ctx context.Context, source *postgres.DB, schema string, witness int64, condition string) (written bool, err error) {
	tag, err := source.Exec(ctx, postgres.Local{"synchronous_commit": "on"}.SQL()+"; "+
		in(schema, "SELECT pg_catalog.setval('daymill_capture.witness', "+strconv.FormatInt(witness, 10)+") FROM daymill_capture.witness AS w WHERE "+condition), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return false, fmt.Errorf("write the witness to the source: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// recognize returns an error if the source does not have what was read from it.
func (r *Reader) recognize(witness int64, started string) error {
	if r.started == "" {
		// A reader that ended before its changes landed has written the next witness. Marks of earlier versions have none.
		if r.witness == 0 || witness == r.witness+1 {
			r.witness = witness
		}
		r.started = started
	}
	switch {
	case started != r.started:
		return ErrRestarted
	case witness != r.witness:
		return ErrRestored
	}
	return nil
}

// land lands a batch. The first one of a turn needs a new witness.
func (r *Reader) land(ctx context.Context, batch Batch) error {
	if !r.witnessed {
		written, err := write(ctx, r.config.Source, r.config.Schema, r.witness+1, "w.last_value = "+strconv.FormatInt(r.witness, 10))
		if err != nil {
			return err
		}
		if !written {
			return ErrRestored
		}
		r.witness++
		r.witnessed = true
	}
	batch.Mark.Witness = r.witness
	return r.config.Land(ctx, batch)
}
