// Package consumer delivers changes to consumers. It keeps the position of each shard in the log and the changes that a sink
// refused. A shard's job reads the log from the shard's position, hands a batch to the sink, and moves the position in a
// transaction that also writes the dead letters. Only the holder of the shard's fence moves the position.
//
//	         ┌────────── batch taken ──────────┐
//	         ▼                                 │
//	take ─▶ read ─▶ filter ─▶ deliver ─────────┴─▶ caught up
//	                   │          ├─ error ─▶ wait, then try half of the batch
//	                   │          └─ refused ─▶ letter: its key is parked
//	                   └─ key is parked ─▶ letter that waits
package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

var (
	// ErrNone says that no consumer has the name.
	ErrNone = errors.New("there is no consumer of that name: `daymill sink list` shows all")
	// ErrNoLetter says that there is no dead letter at the position.
	ErrNoLetter = errors.New("there is no such dead letter: `daymill deadletter list` shows all")
	// ErrPaused says that the consumer is paused.
	ErrPaused = errors.New("the consumer is paused")
	// ErrPosition says that the position is not in the consumer's log.
	ErrPosition = errors.New("the log does not have this position")
	// ErrExists says that the name is taken.
	ErrExists = errors.New("a consumer of that name already exists")
)

// maxList is how many consumers or letters are listed at a time.
const maxList = 1000

// Consumer receives changes.
type Consumer struct {
	Name   string
	Stream string // name of the database
	Kind   string // of sink; "poll", "function"
	// Settings depend on Kind, and are JSON without secrets.
	Settings json.RawMessage
	Shards   int
	// PausedAt is when the consumer was paused; nil if it is not. PausedBecause is the reason, if there is one.
	PausedAt      *time.Time
	PausedBecause string
	CreatedAt     time.Time
}

// Title returns the name for people. A view's consumer has a number in its name, and the view's name in its settings.
func (c Consumer) Title() string {
	var settings struct {
		Title string `json:"title"`
	}
	if json.Unmarshal(c.Settings, &settings) != nil || settings.Title == "" {
		return c.Name
	}
	return settings.Title
}

// Progress is the state of a consumer and the progress of all of its shards.
type Progress struct {
	Consumer

	Position  int64 // of the shard that is furthest behind
	Delivered int64 // changes
	MovedAt   time.Time
	Failures  int    // failed attempts in a row, of the shard with the most
	Error     string // the last
	Letters   int64  // dead letters
}

// Shard is the progress of one shard.
type Shard struct {
	Number    int
	Position  int64
	Delivered int64
	MovedAt   *time.Time
	Failures  int
	Error     string
	RetryAt   *time.Time
}

// Create creates a consumer that begins after a position, in the caller's transaction.
func Create(ctx context.Context, tx pgx.Tx, c Consumer, after int64, who audit.Who) error {
	queries := db.New(tx)
	if _, err := queries.ConsumerGet(ctx, c.Name); err == nil {
		return fmt.Errorf("%w: %s", ErrExists, c.Name)
	}
	if len(c.Settings) == 0 {
		c.Settings = json.RawMessage("{}")
	}
	shards := int32(max(1, c.Shards)) //nolint:gosec // The table bounds it.
	err := queries.ConsumerInsert(ctx, db.ConsumerInsertParams{
		Name: c.Name, Stream: c.Stream, Kind: c.Kind, Settings: c.Settings, Shards: shards,
	})
	if err == nil {
		err = queries.ConsumerShardsInsert(ctx, db.ConsumerShardsInsertParams{Consumer: c.Name, Position: after, Shards: shards})
	}
	if err != nil {
		return fmt.Errorf("create consumer %s: %w", c.Name, err)
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "create consumer", Target: c.Name, Detail: map[string]any{
		"kind": c.Kind, "stream": c.Stream, "after": after, "shards": shards,
	}})
}

// Update changes a consumer's kind and settings, in the caller's transaction. Its position stays.
func Update(ctx context.Context, tx pgx.Tx, c Consumer, who audit.Who) error {
	queries := db.New(tx)
	count, err := queries.ConsumerUpdate(ctx, db.ConsumerUpdateParams{Name: c.Name, Kind: c.Kind, Settings: c.Settings})
	if err != nil {
		return fmt.Errorf("change consumer %s: %w", c.Name, err)
	}
	if count == 0 {
		return ErrNone
	}
	// A turn that is running still uses the old settings: end it.
	if _, err := queries.ShardFence(ctx, c.Name); err != nil {
		return fmt.Errorf("change consumer %s: %w", c.Name, err)
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "change consumer", Target: c.Name})
}

// Get returns a consumer, or ErrNone.
func Get(ctx context.Context, on postgres.DBTX, name string) (Consumer, error) {
	row, err := db.New(on).ConsumerGet(ctx, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return Consumer{}, ErrNone
	}
	if err != nil {
		return Consumer{}, fmt.Errorf("read consumer %s: %w", name, err)
	}
	return Consumer{
		Name: row.Name, Stream: row.Stream, Kind: row.Kind, Settings: row.Settings, Shards: int(row.Shards),
		PausedAt: row.PausedAt, PausedBecause: row.PausedBecause, CreatedAt: row.CreatedAt,
	}, nil
}

// List returns all consumers by name, at most a thousand.
func List(ctx context.Context, on postgres.DBTX) ([]Progress, error) {
	rows, err := db.New(on).ConsumerList(ctx, maxList)
	if err != nil {
		return nil, fmt.Errorf("list consumers: %w", err)
	}
	list := make([]Progress, len(rows))
	for i, row := range rows {
		list[i] = Progress{
			Consumer: Consumer{
				Name: row.Name, Stream: row.Stream, Kind: row.Kind, Settings: row.Settings, Shards: int(row.Shards),
				PausedAt: row.PausedAt, PausedBecause: row.PausedBecause, CreatedAt: row.CreatedAt,
			},
			Position: row.Position, Delivered: row.Delivered, MovedAt: row.MovedAt, Failures: int(row.Failures), Error: row.Error,
			Letters: row.Letters,
		}
	}
	return list, nil
}

// Shards returns the shards of a consumer.
func Shards(ctx context.Context, on postgres.DBTX, name string) ([]Shard, error) {
	rows, err := db.New(on).ShardList(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("list the shards of %s: %w", name, err)
	}
	shards := make([]Shard, len(rows))
	for i, row := range rows {
		shards[i] = Shard{
			Number: int(row.Shard), Position: row.Position, Delivered: row.Delivered, MovedAt: row.MovedAt,
			Failures: int(row.Failures), Error: row.Error, RetryAt: row.RetryAt,
		}
	}
	return shards, nil
}

// Pause stops the delivery to a consumer as soon as the transaction commits. A batch that is being delivered then is not recorded, and
// is delivered again after Resume.
func Pause(ctx context.Context, tx pgx.Tx, name, because string, who audit.Who) error {
	queries := db.New(tx)
	var reason *string
	if because != "" {
		reason = &because
	}
	count, err := queries.ConsumerPause(ctx, db.ConsumerPauseParams{Name: name, Because: reason})
	if err == nil && count > 0 {
		_, err = queries.ShardFence(ctx, name)
	}
	return changed(ctx, tx, count, err, audit.Entry{Who: who, Action: "pause consumer", Target: name})
}

// Left reports whether the log no longer has changes that a consumer has not received, because it waited for them for too long.
func Left(ctx context.Context, on postgres.DBTX, name string) (bool, error) {
	left, err := db.New(on).ConsumerLeft(ctx, name)
	if err != nil {
		return false, fmt.Errorf("read consumer %s: %w", name, err)
	}
	return left, nil
}

// Resume continues the delivery to a consumer where it stopped. If the log no longer has the changes there, it continues at the end of the
// log, with a snapshot of its tables.
func Resume(ctx context.Context, tx pgx.Tx, name string, who audit.Who) error {
	queries := db.New(tx)
	left, err := Left(ctx, tx, name)
	if err != nil {
		return err
	}
	if left {
		if err := skip(ctx, tx, name); err != nil {
			return fmt.Errorf("resume consumer %s: %w", name, err)
		}
	}
	count, err := queries.ConsumerResume(ctx, name)
	if err == nil && count > 0 {
		err = queries.AcceptPaused(ctx, name)
	}
	return changed(ctx, tx, count, err, audit.Entry{Who: who, Action: "resume consumer", Target: name, Detail: map[string]any{"snapshot": left}})
}

// skip moves a consumer to the end of the log, and requests a snapshot of its tables. It locks the stream first, as its owner does.
func skip(ctx context.Context, tx pgx.Tx, name string) error {
	queries := db.New(tx)
	there, err := Get(ctx, tx, name)
	if err != nil {
		return err
	}
	stream, err := queries.StreamHold(ctx, there.Stream)
	if err != nil {
		return err
	}
	if _, err := queries.ShardRewind(ctx, db.ShardRewindParams{Consumer: name, Position: stream.Position}); err != nil {
		return err
	}
	return queries.SnapshotRequest(ctx, db.SnapshotRequestParams{StreamID: stream.ID, Consumer: &name, Tables: []string{}})
}

// Rewind makes a consumer continue after another position, earlier or later; 0 is the beginning of the log. Its dead letters stay. It
// returns an error that wraps ErrPosition if the log does not have the position.
func Rewind(ctx context.Context, tx pgx.Tx, name string, after int64, who audit.Who) error {
	queries := db.New(tx)
	there, err := Get(ctx, tx, name)
	if err != nil {
		return err
	}
	stream, err := queries.StreamGet(ctx, there.Stream)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // Nothing was captured yet.
	case err != nil:
		return fmt.Errorf("read stream %s: %w", there.Stream, err)
	case after == 0:
		after = stream.Forgotten
	case after < stream.Forgotten:
		return fmt.Errorf("%w: it begins after position %d: for earlier changes, take a snapshot with `daymill sink snapshot`", ErrPosition, stream.Forgotten)
	case after > stream.Position:
		return fmt.Errorf("%w: it ends at position %d", ErrPosition, stream.Position)
	}
	count, err := queries.ShardRewind(ctx, db.ShardRewindParams{Consumer: name, Position: after})
	return changed(ctx, tx, count, err, audit.Entry{
		Who: who, Action: "rewind consumer", Target: name, Detail: map[string]any{"after": after},
	})
}

// Remove removes a consumer, with its positions and dead letters. What it delivered stays in the target.
func Remove(ctx context.Context, tx pgx.Tx, name string, who audit.Who) error {
	count, err := db.New(tx).ConsumerDelete(ctx, name)
	return changed(ctx, tx, count, err, audit.Entry{Who: who, Action: "remove consumer", Target: name})
}

func changed(ctx context.Context, tx pgx.Tx, count int64, err error, entry audit.Entry) error {
	if err != nil {
		return fmt.Errorf("%s %s: %w", entry.Action, entry.Target, err)
	}
	if count == 0 {
		return ErrNone
	}
	return audit.Record(ctx, tx, entry)
}
