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
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// Channel is what Postgres notifies when changes have landed; the payload is the name of the stream.
	Channel = "daymill_capture"
	// DefaultPartition is how many positions a partition has.
	DefaultPartition = 500_000
	// DefaultRetention is how long a full partition is kept.
	DefaultRetention = 24 * time.Hour
	// DefaultHold is how long a full partition is kept for consumers that have not passed it.
	DefaultHold = 7 * 24 * time.Hour

	// fenced is the SQLSTATE that capture.advance raises.
	fenced = "DM016"
	// moved is the SQLSTATE that capture.advance raises if a snapshot has moved the stream.
	moved = "DM017"
)

var (
	// ErrTaken says that another process owns the stream.
	ErrTaken = errors.New("another process owns the stream")
	// ErrForgotten says that the log no longer has the changes after a position.
	ErrForgotten = errors.New("the log no longer has these changes: `daymill sink resume` continues at its end, with a snapshot of the consumer's tables")
	// ErrNoStream says that no stream has the name.
	ErrNoStream = errors.New("there is no stream of that name")
)

// Mark is the position up to which a source was read, including the changes that Land writes with it.
type Mark struct {
	LSN         string    // in WAL mode; "" leaves it unchanged
	Seen        string    // a trigger.Mark or a wal.Last, as text; "" leaves it unchanged
	CommittedAt time.Time // of the last transaction; zero leaves it unchanged
	Watermarks  []string  // that were read: see package watermark
}

// Config configures a Writer. DB and Stream have no default.
type Config struct {
	DB        *postgres.DB  // with the log
	Stream    string        // name
	Owner     string        // name of the process that takes the stream, for people
	Clock     pace.Clock    // the system's if nil
	Silence   time.Duration // after which an owner that has not called Beat loses the stream; 10 seconds if 0
	Partition int64         // positions; DefaultPartition if 0
}

// Writer writes the log of one stream. It is not safe for concurrent use.
type Writer struct {
	config   Config
	id       int32
	lease    *lease.Lease
	position int64
	upto     int64 // of the last partition
	buffer   []byte
}

// Take takes a stream that no process owns, and creates the stream if it does not exist. It returns ErrTaken if a process owns it.
func Take(ctx context.Context, config Config) (*Writer, error) {
	if config.Partition == 0 {
		config.Partition = DefaultPartition
	}
	if config.Clock == nil {
		config.Clock = pace.SystemClock{}
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
		w.id, w.position = row.ID, row.Position
		w.lease = &lease.Lease{Unit: unit{row.ID}, Term: lease.Term{ID: row.Token}, Clock: config.Clock, Transact: w.transact}
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
func (w *Writer) Token() int64 { return w.lease.Term.ID }

// Position returns the position of the last change in the log.
func (w *Writer) Position() int64 { return w.position }

// unit is the stream of a writer.
type unit struct{ id int32 }

// Heartbeat checks the fence of a stream: see [lease.Unit].
func (u unit) Heartbeat(ctx context.Context, queries *db.Queries, term lease.Term, _ int64) (int64, error) {
	return queries.StreamBeat(ctx, db.StreamBeatParams{ID: u.id, Token: term.ID})
}

// Keep runs do, and records meanwhile, at an interval, that the owner is alive. It ends do if another process has taken the stream.
func (w *Writer) Keep(ctx context.Context, every time.Duration, do func(ctx context.Context) error) error {
	return w.lease.Keep(ctx, every, do)
}

// Beat records that the owner is alive. It returns lease.ErrFenced if another process has taken the stream.
func (w *Writer) Beat(ctx context.Context) error { return w.lease.Beat(ctx) }

// Do runs statements in a transaction. If another session locks the stream's row, it waits. A snapshot holds the lock while it appends
// a chunk, and so does the landing of a large batch: on a busy server, either may take longer than one timeout.
func (w *Writer) Do(ctx context.Context, do func(queries *db.Queries) error) error {
	return w.transact(ctx, func(_ context.Context, queries *db.Queries) error { return do(queries) })
}

func (w *Writer) transact(ctx context.Context, do func(ctx context.Context, queries *db.Queries) error) error {
	return postgres.Patiently(ctx, func() error {
		return w.config.DB.Tx(ctx, func(tx pgx.Tx) error { return do(ctx, db.New(tx)) })
	})
}

// Own is Do for a statement that has the owner's token in its condition. It returns lease.ErrFenced if the statement changed nothing.
func (w *Writer) Own(ctx context.Context, do func(queries *db.Queries) (int64, error)) error {
	return w.Do(ctx, func(queries *db.Queries) error {
		if err := lease.Fenced(do(queries)); err != nil {
			return fmt.Errorf("write to stream %s: %w", w.config.Stream, err)
		}
		return nil
	})
}

// Tx runs do in a transaction during which no other process can take the stream.
func (w *Writer) Tx(ctx context.Context, do func(tx pgx.Tx, queries *db.Queries) error) error {
	held := false
	var failed error
	err := postgres.Patiently(ctx, func() error {
		err := w.config.DB.Tx(ctx, func(tx pgx.Tx) error {
			queries := db.New(tx)
			if err := w.lease.Fence(ctx, queries); err != nil {
				return fmt.Errorf("hold stream %s: %w", w.config.Stream, err)
			}
			held = true
			// A crash that the slot survives must not lose where the stream begins, or which changes are missing in it.
			if err := postgres.Durable(ctx, tx); err != nil {
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
func (w *Writer) Release(ctx context.Context) {
	w.lease.Release(ctx, func(ctx context.Context, queries *db.Queries) error {
		return queries.StreamRelease(ctx, db.StreamReleaseParams{ID: w.id, Token: w.Token()})
	})
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
