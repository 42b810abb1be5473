// Package snapshot puts rows that were there before into the log, chunk by chunk, while changes flow on. It blocks nobody.
//
// For each chunk it notes where the log is (the low watermark), reads the chunk, writes a mark into the stream (the high
// watermark), and waits until the mark has come. Then it appends the rows to the log in one transaction, without those whose keys
// have changed in the log since the low watermark: these changes are newer, or are in the chunk as well. So a row of a snapshot
// never follows a change that it does not know of. Of a row whose changes left out columns that they did not touch, these columns
// follow as an update.
//
//	request ──▶ waiting ──▶ running ──▶ complete
//	               ▲  └──────┬─┴──▶ cancelled
//	               └─ restart┴──▶ paused
//
// Rows that one consumer has asked for are for that one only. Those that repair a gap are for all.
package snapshot

import (
	"context"
	"errors"
	"fmt"
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

// ErrNone says that there is no such snapshot that is not finished.
var ErrNone = errors.New("there is no such snapshot that is not finished: `daymill capture snapshot list` has those that there are")

// maxList is how many snapshots are listed at a time.
const maxList = 1000

// Snapshot is the reading of one table.
type Snapshot struct {
	ID       int64
	Stream   string
	Schema   string
	Table    string
	Consumer string // the only one that it is for; "" is all
	State    string
	Reason   string // why it does not continue
	Chunks   int64
	Rows     int64
	Estimate int64 // rows of the table, as its statistics said

	CreatedAt  time.Time
	StartedAt  *time.Time
	MovedAt    *time.Time
	FinishedAt *time.Time
}

// Left is how long it takes still, if it continues as so far and the estimate is right; 0 if that cannot be told.
func (s Snapshot) Left() time.Duration {
	if s.State != Running || s.StartedAt == nil || s.MovedAt == nil || s.Rows == 0 || s.Estimate <= s.Rows {
		return 0
	}
	return time.Duration(float64(s.MovedAt.Sub(*s.StartedAt)) / float64(s.Rows) * float64(s.Estimate-s.Rows))
}

// Request asks for a snapshot of tables for one consumer, or for all if it is "", in the caller's transaction. Tables are
// schema.table; none are all that are captured and that the consumer takes. Snapshots of the same that are not complete begin again.
func Request(ctx context.Context, tx pgx.Tx, stream, consumer string, tables []string) error {
	queries := db.New(tx)
	if err := queries.StreamEnsure(ctx, stream); err != nil {
		return fmt.Errorf("ask for a snapshot: %w", err)
	}
	row, err := queries.StreamGet(ctx, stream)
	if err != nil {
		return fmt.Errorf("ask for a snapshot: %w", err)
	}
	if tables == nil {
		tables = []string{}
	}
	params := db.SnapshotRequestParams{StreamID: row.ID, Tables: tables}
	if consumer != "" {
		params.Consumer = &consumer
	}
	if err := queries.SnapshotRequest(ctx, params); err != nil {
		return fmt.Errorf("ask for a snapshot: %w", err)
	}
	return nil
}

// RequestFor asks for a snapshot for one consumer, as Request does, and records who asked. An error is consumer.ErrNone, wrapped,
// if there is no such consumer.
func RequestFor(ctx context.Context, tx pgx.Tx, name string, tables []string, who audit.Who) error {
	there, err := consumer.Get(ctx, tx, name)
	if err != nil {
		return err
	}
	if err := Request(ctx, tx, there.Stream, name, tables); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "snapshot consumer", Target: name, Detail: map[string]any{"tables": tables}})
}

// List returns snapshots, the latest first, a thousand at most: those of a stream, of a consumer, or all if these are "".
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

// Pause keeps a snapshot from going on, Resume lets it continue where it was, Restart lets it begin again, Cancel ends it.
func Pause(ctx context.Context, tx pgx.Tx, id int64, who audit.Who) error {
	count, err := db.New(tx).SnapshotPause(ctx, id)
	return changed(ctx, tx, id, count, err, "pause snapshot", who)
}

// Resume lets a paused snapshot continue.
func Resume(ctx context.Context, tx pgx.Tx, id int64, who audit.Who) error {
	count, err := db.New(tx).SnapshotResume(ctx, id)
	return changed(ctx, tx, id, count, err, "resume snapshot", who)
}

// Restart lets a snapshot begin again.
func Restart(ctx context.Context, tx pgx.Tx, id int64, who audit.Who) error {
	count, err := db.New(tx).SnapshotRestart(ctx, id)
	return changed(ctx, tx, id, count, err, "restart snapshot", who)
}

// Cancel ends a snapshot. What it has put into the log stays there.
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
