// Package log stores changes until every consumer has received them and the retention is over.
//
// A [Writer] belongs to the owner of a stream: it gives changes their positions and writes them with one COPY, together with
// stream's position, in one transaction that fails if another process has taken the stream. [Log] reads them shard by shard. Each
// partition holds a number of positions; [Writer.Maintain] makes partitions ahead, and drops those that all consumers have passed and
// whose retention is over.
//
//	take ──▶ land ──▶ land ──▶ … ──▶ fenced: another has taken the stream
package log

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// Channel is what Postgres notifies when changes have landed; the payload is the name of the stream.
	Channel = "daymill_capture"
	// DefaultPartition is how many positions a partition has.
	DefaultPartition = 500_000
	// DefaultRetention is how long a full partition is kept.
	DefaultRetention = 24 * time.Hour

	// fenced is the SQLSTATE that capture.advance raises.
	fenced = "DM016"
	// moved is the SQLSTATE that capture.advance raises if a snapshot has moved the stream.
	moved = "DM017"
)

var (
	// ErrFenced says that another process has taken the stream, and that nothing was written.
	ErrFenced = errors.New("another process has taken the stream")
	// ErrTaken says that another process owns the stream.
	ErrTaken = errors.New("another process owns the stream")
	// ErrForgotten says that the log no longer has the changes after a position.
	ErrForgotten = errors.New("the log does not go back that far: snapshot the consumer's tables with `daymill sink snapshot`")
	// ErrNoStream says that no stream has the name.
	ErrNoStream = errors.New("there is no stream of that name")
)

// Mark is the position up to which a source was read, including the changes that Land writes with it.
type Mark struct {
	LSN         string    // in WAL mode; "" leaves it unchanged
	Seen        string    // in trigger mode, a pg_snapshot; "" leaves it unchanged
	CommittedAt time.Time // of the last transaction; zero leaves it unchanged
}

// Config configures a Writer. DB and Stream have no default.
type Config struct {
	DB        *postgres.DB  // with the log
	Stream    string        // name
	Owner     string        // name of the process that takes the stream, for people
	Silence   time.Duration // after which an owner that has not called Beat loses the stream; 10 seconds if 0
	Partition int64         // positions; DefaultPartition if 0
}

// Writer writes the log of one stream. It is not safe for concurrent use.
type Writer struct {
	config   Config
	id       int32
	token    int64
	position int64
	upto     int64 // of the last partition
	buffer   []byte
}

// Take takes a stream that no process owns, and creates the stream if it does not exist. It returns ErrTaken if a process owns it.
func Take(ctx context.Context, config Config) (*Writer, error) {
	if config.Partition == 0 {
		config.Partition = DefaultPartition
	}
	if config.Silence == 0 {
		config.Silence = 10 * time.Second
	}
	w := &Writer{config: config}
	err := config.DB.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		if err := queries.StreamEnsure(ctx, config.Stream); err != nil {
			return err
		}
		row, err := queries.StreamTake(ctx, db.StreamTakeParams{Name: config.Stream, Owner: config.Owner, Silence: config.Silence})
		if err != nil {
			return err
		}
		w.id, w.token, w.position = row.ID, row.Token, row.Position
		w.upto, err = queries.LogPartitionLast(ctx, row.ID)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrTaken
	}
	if err != nil {
		return nil, fmt.Errorf("take stream %s: %w", config.Stream, err)
	}
	return w, nil
}

// ID returns the stream's id.
func (w *Writer) ID() int32 { return w.id }

// Token returns the number that identifies this owner of the stream.
func (w *Writer) Token() int64 { return w.token }

// Position returns the position of the last change in the log.
func (w *Writer) Position() int64 { return w.position }

// Beat records that the owner is alive. It returns ErrFenced if the owner has lost the stream.
func (w *Writer) Beat(ctx context.Context) error {
	return w.Own(ctx, func(queries *db.Queries) (int64, error) {
		return queries.StreamBeat(ctx, db.StreamBeatParams{ID: w.id, Token: w.token})
	})
}

// tries is the number of times to wait for a lock on the stream's row, each time until a lock or statement timeout. A snapshot holds the
// lock while it appends a chunk, and so does the landing of a large batch: on a busy server, either may take longer than one timeout.
// After a timeout nothing was written, so trying again is safe.
const tries = 15

// patiently calls do again while another session locks the stream's row.
func patiently(ctx context.Context, do func() error) (err error) {
	for range tries {
		if err = do(); !postgres.IsLockTimeout(err) && !postgres.IsTimeout(err) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// Do runs statements in a transaction. If another session locks the stream's row for too long, it runs them again.
func (w *Writer) Do(ctx context.Context, do func(queries *db.Queries) error) error {
	return patiently(ctx, func() error {
		return w.config.DB.Tx(ctx, func(tx pgx.Tx) error { return do(db.New(tx)) })
	})
}

// Own is Do for a statement that has the owner's token in its condition. It returns ErrFenced if the statement changed nothing.
func (w *Writer) Own(ctx context.Context, do func(queries *db.Queries) (int64, error)) error {
	return patiently(ctx, func() error {
		return w.config.DB.Tx(ctx, func(tx pgx.Tx) error {
			count, err := do(db.New(tx))
			if err != nil {
				return fmt.Errorf("write to stream %s: %w", w.config.Stream, err)
			}
			if count == 0 {
				return ErrFenced
			}
			return nil
		})
	})
}

// Tx runs do in a transaction during which no other process can take the stream.
func (w *Writer) Tx(ctx context.Context, do func(tx pgx.Tx, queries *db.Queries) error) error {
	held := false
	var failed error
	err := patiently(ctx, func() error {
		err := w.config.DB.Tx(ctx, func(tx pgx.Tx) error {
			queries := db.New(tx)
			_, err := queries.StreamOwn(ctx, db.StreamOwnParams{ID: w.id, Token: w.token})
			if errors.Is(err, pgx.ErrNoRows) {
				return ErrFenced
			}
			if err != nil {
				return fmt.Errorf("hold stream %s: %w", w.config.Stream, err)
			}
			held = true
			// A crash that the slot survives must not lose where the stream begins, or which changes are missing in it.
			_, err = tx.Exec(ctx, `SELECT pg_catalog.set_config('synchronous_commit', 'local', true) WHERE pg_catalog.current_setting('synchronous_commit') = 'off'`)
			if err != nil {
				return fmt.Errorf("hold stream %s: %w", w.config.Stream, err)
			}
			return do(tx, queries)
		})
		if held { // The timeout was on a lock that do needs, not on the stream's row: the caller decides.
			failed = err
			return nil
		}
		return err
	})
	return errors.Join(err, failed)
}

// Release gives up the stream, so that the next owner does not have to wait for Config.Silence.
func (w *Writer) Release(ctx context.Context) error {
	return w.config.DB.Tx(ctx, func(tx pgx.Tx) error {
		return db.New(tx).StreamRelease(ctx, db.StreamReleaseParams{ID: w.id, Token: w.token})
	})
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
