package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	gapsShown   = 20
	tablesShown = 500
)

// Status is the state of a stream, for people.
type Status struct {
	Config

	Mode   string // empty before it was first read
	Why    string // why it is read in this mode
	State  string
	Reason string
	Owner  string     // the process that reads it
	BeatAt *time.Time // when the owner was last heard of
	Alive  bool       // whether an owner was heard of recently
	Slot   string
	LSN    string
	// Position is the position of the last change in the log. The log no longer has changes up to Forgotten.
	Position, Forgotten int64
	LandedAt            *time.Time // when the last change was written to the log
	CommittedAt         *time.Time // when it was committed in the source
	// Retained is how many bytes of WAL the slot holds back, Behind how many are not read yet, GuardedAt when they were measured.
	Retained, Behind int64
	// WarnAt and DropAt are the bytes of WAL held back at which the worker warns, and drops the slot; 0 if it has not looked yet.
	WarnAt, DropAt int64
	GuardedAt      *time.Time

	Captured []Captured // at most 500
	Gaps     []Gap      // unrepaired ones first, then the newest; at most 20
}

// Unread reports whether nobody reads the stream although somebody should.
func (s Status) Unread() bool {
	return !s.Alive && s.State != "stopped" && (s.Mode != "" || len(s.Tables) > 0)
}

// Captured is a table of a stream. Reason says why the table or some of its changes are not captured; empty if all are.
type Captured struct {
	Schema, Table, Identity, Reason string
	Since                           time.Time
}

// Gap is a span of changes that were not captured.
type Gap struct {
	Kind, Reason string
	After        int64
	Tables       []string
	CreatedAt    time.Time
	RepairedAt   *time.Time
}

// List returns the status of all streams by name.
func List(ctx context.Context, on postgres.DBTX, now time.Time) ([]Status, error) {
	names, err := Names(ctx, on)
	if err != nil {
		return nil, err
	}
	all := make([]Status, 0, len(names))
	queries := db.New(on)
	for _, name := range names {
		row, err := queries.StreamGet(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", name, err)
		}
		one := Status{
			Config: Config{Name: row.Name, URL: row.Url, Tables: row.Tables, KeysOnly: row.KeysOnly, NoRepair: !row.Repair}, Mode: row.Mode, Why: row.ModeReason, State: row.State, Reason: row.Reason,
			Owner: row.Owner, BeatAt: row.BeatAt, Slot: row.Slot, LSN: row.Lsn, Position: row.Position, Forgotten: row.Forgotten,
			LandedAt: row.LandedAt, CommittedAt: row.CommittedAt, Retained: row.Retained, Behind: row.Behind, GuardedAt: row.GuardedAt,
			WarnAt: row.WarnAt, DropAt: row.DropAt,
			Alive: row.BeatAt != nil && now.Sub(*row.BeatAt) < silenceInBeats*DefaultBeat,
		}
		if one.Captured, err = captured(ctx, queries, row.ID); err != nil {
			return nil, err
		}
		one.Captured = one.Captured[:min(tablesShown, len(one.Captured))]
		if one.Gaps, err = gaps(ctx, queries, row.ID); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// Tables returns the tables that a stream captures, or was told to capture; none if there is no such stream.
func Tables(ctx context.Context, on postgres.DBTX, name string) ([]Captured, error) {
	row, err := db.New(on).StreamGet(ctx, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", name, err)
	}
	return captured(ctx, db.New(on), row.ID)
}

func captured(ctx context.Context, queries *db.Queries, id int32) ([]Captured, error) {
	rows, err := queries.CapturedList(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("list captured tables: %w", err)
	}
	tables := make([]Captured, len(rows))
	for i, row := range rows {
		tables[i] = Captured{Schema: row.SchemaName, Table: row.TableName, Identity: row.Identity, Reason: row.Reason, Since: row.Since}
	}
	return tables, nil
}

func gaps(ctx context.Context, queries *db.Queries, id int32) ([]Gap, error) {
	rows, err := queries.GapList(ctx, db.GapListParams{StreamID: id, MaxRows: gapsShown})
	if err != nil {
		return nil, fmt.Errorf("list gaps: %w", err)
	}
	list := make([]Gap, len(rows))
	for i, row := range rows {
		list[i] = Gap{
			Kind: row.Kind, Reason: row.Reason, After: row.After, Tables: row.Tables, CreatedAt: row.CreatedAt, RepairedAt: row.RepairedAt,
		}
	}
	return list, nil
}
