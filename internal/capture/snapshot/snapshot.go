// Package snapshot appends rows that existed before a stream began to the log, chunk by chunk, while changes continue to arrive. It
// blocks no other session.
//
// For each chunk it notes the position of the log (the low watermark), reads the chunk, writes a mark into the stream (the high
// watermark), and waits until the mark has arrived. Then it appends the rows to the log in one transaction, without those whose keys
// have changed in the log since the low watermark: such a change is newer than the row, or the row already includes it. So a row of a
// snapshot never overwrites a change that is newer than it. If the changes of a row left out columns that they did not touch, these
// columns follow as an update.
//
//	request ──▶ waiting ──▶ running ──▶ complete
//	               ▲  └──────┬─┴──▶ cancelled
//	               └─ restart┴──▶ paused
//
// Rows of a snapshot that one consumer requested are only for that consumer. Rows that repair a gap are for all.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// States.
const (
	Waiting   = "waiting"
	Running   = "running"
	Paused    = "paused"
	Complete  = "complete"
	Cancelled = "cancelled"
)

// ErrNone says that no unfinished snapshot has the id.
var ErrNone = errors.New("there is no unfinished snapshot with this id: `daymill capture snapshot list` shows all")

// ErrTable says that a consumer receives no captured table of the name.
var ErrTable = errors.New("there is nothing to read")

// maxList is how many snapshots are listed at a time.
const maxList = 1000

// Snapshot reads the rows of one table.
type Snapshot struct {
	ID       int64
	Stream   string
	Schema   string
	Table    string
	Consumer string // the only consumer that it is for; "" means all
	State    string
	Reason   string // why it does not continue
	Chunks   int64
	Rows     int64
	Estimate int64 // rows of the table, according to its statistics

	CreatedAt  time.Time
	StartedAt  *time.Time
	MovedAt    *time.Time
	FinishedAt *time.Time
}

// Left returns an estimate of the remaining time, assuming the same speed as so far; 0 if that is not known.
func (s Snapshot) Left() time.Duration {
	if s.State != Running || s.StartedAt == nil || s.MovedAt == nil || s.Rows == 0 || s.Estimate <= s.Rows {
		return 0
	}
	return time.Duration(float64(s.MovedAt.Sub(*s.StartedAt)) / float64(s.Rows) * float64(s.Estimate-s.Rows))
}

// Request requests a snapshot of tables for one consumer, or for all consumers if it is "", in the caller's transaction. Tables are
// written as schema.table; none means all captured tables that the consumer takes. Unfinished snapshots of the same tables start again.
func Request(ctx context.Context, tx pgx.Tx, stream, consumer string, tables []string) error {
	queries := db.New(tx)
	if err := queries.StreamEnsure(ctx, stream); err != nil {
		return fmt.Errorf("request a snapshot: %w", err)
	}
	row, err := queries.StreamGet(ctx, stream)
	if err != nil {
		return fmt.Errorf("request a snapshot: %w", err)
	}
	if tables == nil {
		tables = []string{}
	}
	params := db.SnapshotRequestParams{StreamID: row.ID, Tables: tables}
	if consumer != "" {
		params.Consumer = &consumer
	}
	if err := queries.SnapshotRequest(ctx, params); err != nil {
		return fmt.Errorf("request a snapshot: %w", err)
	}
	return nil
}

// RequestFor requests a snapshot for one consumer, as Request does, and records who requested it. It returns an error that wraps
// consumer.ErrNone if there is no such consumer, or ErrTable if a table is not one that it receives.
func RequestFor(ctx context.Context, tx pgx.Tx, name string, tables []string, who audit.Who) error {
	there, err := consumer.Get(ctx, tx, name)
	if err != nil {
		return err
	}
	if err := check(ctx, tx, there, tables); err != nil {
		return err
	}
	if err := Request(ctx, tx, there.Stream, name, tables); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "snapshot consumer", Target: name, Detail: map[string]any{"tables": tables}})
}

// check returns ErrTable for a table that a consumer does not receive. Until a worker has recorded which tables the stream captures now, any
// table may be among them.
func check(ctx context.Context, tx pgx.Tx, there consumer.Consumer, tables []string) error {
	if len(tables) == 0 {
		return nil
	}
	queries := db.New(tx)
	row, err := queries.StreamGet(ctx, there.Stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read stream %s: %w", there.Stream, err)
	}
	followed, err := queries.StreamFollowed(ctx, row.ID)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", there.Stream, err)
	}
	patterns, err := queries.StreamPatterns(ctx, row.ID)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", there.Stream, err)
	}
	captured, err := queries.CapturedList(ctx, row.ID)
	if err != nil {
		return fmt.Errorf("list captured tables: %w", err)
	}
	if len(captured) == 0 || !slices.Equal(followed.Followed, patterns) {
		return nil
	}
	takes, err := filterOf(ctx, queries, there.Name)
	if err != nil {
		return fmt.Errorf("read the tables of %s: %w", there.Name, err)
	}
	for _, table := range tables {
		if !slices.ContainsFunc(captured, func(c db.CapturedListRow) bool {
			return c.Reason == "" && c.SchemaName+"."+c.TableName == table && takes(c.SchemaName, c.TableName)
		}) {
			return fmt.Errorf("%w: sink %s receives no captured table that matches %s", ErrTable, there.Name, table)
		}
	}
	return nil
}

// List returns at most a thousand snapshots, newest first: those of a stream, of a consumer, or all if these are "".
func List(ctx context.Context, on postgres.DBTX, stream, consumer string) ([]Snapshot, error) {
	rows, err := db.New(on).SnapshotList(ctx, db.SnapshotListParams{Stream: stream, Consumer: consumer, MaxRows: maxList})
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	list := make([]Snapshot, len(rows))
	for i, row := range rows {
		list[i] = Snapshot{
			ID: row.ID, Stream: row.Stream, Schema: row.SchemaName, Table: row.TableName, Consumer: row.Consumer, State: row.State,
			Reason: row.Reason, Chunks: row.Chunks, Rows: row.Rows, Estimate: row.Estimate,
			CreatedAt: row.CreatedAt, StartedAt: row.StartedAt, MovedAt: row.MovedAt, FinishedAt: row.FinishedAt,
		}
	}
	return list, nil
}

// Pause pauses a snapshot, until Resume.
func Pause(ctx context.Context, tx pgx.Tx, id int64, who audit.Who) error {
	count, err := db.New(tx).SnapshotPause(ctx, id)
	return changed(ctx, tx, id, count, err, "pause snapshot", who)
}

// Resume continues a paused snapshot where it stopped.
func Resume(ctx context.Context, tx pgx.Tx, id int64, who audit.Who) error {
	count, err := db.New(tx).SnapshotResume(ctx, id)
	return changed(ctx, tx, id, count, err, "resume snapshot", who)
}

// Restart starts a snapshot from the beginning.
func Restart(ctx context.Context, tx pgx.Tx, id int64, who audit.Who) error {
	count, err := db.New(tx).SnapshotRestart(ctx, id)
	return changed(ctx, tx, id, count, err, "restart snapshot", who)
}

// Cancel ends a snapshot. Rows that it has appended to the log stay there.
func Cancel(ctx context.Context, tx pgx.Tx, id int64, who audit.Who) error {
	count, err := db.New(tx).SnapshotCancel(ctx, id)
	return changed(ctx, tx, id, count, err, "cancel snapshot", who)
}

func changed(ctx context.Context, tx pgx.Tx, id, count int64, err error, action string, who audit.Who) error {
	if err != nil {
		return fmt.Errorf("%s %d: %w", action, id, err)
	}
	if count == 0 {
		return ErrNone
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: action, Target: strconv.FormatInt(id, 10)})
}
