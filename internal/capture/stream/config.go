package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Config says what a stream captures.
type Config struct {
	Name   string
	URL    string   // $NAME of the environment variable with the URL of its database
	Tables []string // patterns; without any, the stream is taken down
	// KeysOnly are patterns of tables of which triggers write only the keys of changes; none means whole rows. It has no effect in mode wal.
	KeysOnly []string
	// NoRepair leaves gaps as they are, instead of repairing them with snapshots of the affected tables.
	NoRepair bool
}

// Get returns the configuration of a stream; the zero value if there is no such stream.
func Get(ctx context.Context, on postgres.DBTX, name string) (Config, error) {
	row, err := db.New(on).StreamGet(ctx, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return Config{Name: name}, nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read stream %s: %w", name, err)
	}
	return Config{Name: row.Name, URL: row.Url, Tables: row.Tables, KeysOnly: row.KeysOnly, NoRepair: !row.Repair}, nil
}

// Names returns the names of all streams.
func Names(ctx context.Context, on postgres.DBTX) ([]string, error) {
	names, err := db.New(on).StreamList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	return names, nil
}

// Place is a stream and where to read it.
type Place struct {
	Name string
	URL  string // $NAME of the environment variable
}

// Wanted returns the streams that need an owner, including those that need to be taken down.
func Wanted(ctx context.Context, on postgres.DBTX) ([]Place, error) {
	rows, err := db.New(on).StreamWanted(ctx)
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	wanted := make([]Place, len(rows))
	for i, row := range rows {
		wanted[i] = Place{Name: row.Name, URL: row.Url}
	}
	return wanted, nil
}

// Configure sets what a stream captures, and creates the stream if it does not exist, in the caller's transaction. The stream's owner
// follows within a few seconds.
func Configure(ctx context.Context, tx pgx.Tx, c Config, who audit.Who) error {
	queries := db.New(tx)
	err := queries.StreamEnsure(ctx, c.Name)
	if err == nil {
		if c.Tables == nil {
			c.Tables = []string{}
		}
		if c.KeysOnly == nil {
			c.KeysOnly = []string{}
		}
		err = queries.StreamConfigure(ctx, db.StreamConfigureParams{Name: c.Name, Url: c.URL, Tables: c.Tables, KeysOnly: c.KeysOnly, Repair: !c.NoRepair})
	}
	if err != nil {
		return fmt.Errorf("configure stream %s: %w", c.Name, err)
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "capture tables", Target: c.Name, Detail: map[string]any{"tables": c.Tables}})
}

// Refuse records why nobody reads a stream, unless somebody does. If a database cannot be opened, the disk guard cannot check it, so the
// reason also names the slot that may hold back WAL there.
func Refuse(ctx context.Context, tx pgx.Tx, name string, cause error) error {
	row, err := db.New(tx).StreamGet(ctx, name)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", name, err)
	}
	if row.Mode == ModeWAL && row.Slot != "" {
		cause = fmt.Errorf("%w; meanwhile nothing keeps its slot from filling the disk: if this lasts, drop it there with SELECT pg_drop_replication_slot('%s'), "+
			"and a snapshot repairs the gap later", cause, row.Slot)
	}
	err = db.New(tx).StreamRefuse(ctx, db.StreamRefuseParams{Name: name, Reason: cause.Error(), Silence: silenceInBeats * DefaultBeat})
	if err != nil {
		return fmt.Errorf("record why stream %s is not read: %w", name, err)
	}
	return nil
}

// errDown says that nothing is captured any more, and that Daymill's objects in the source are removed.
var errDown = errors.New("nothing is captured")

// takeDown removes what the stream has created in the source.
func (s *session) takeDown(ctx context.Context, row db.StreamGetRow) error {
	if err := s.remove(ctx, row); err != nil {
		return err
	}
	err := s.writer.Own(ctx, func(queries *db.Queries) (int64, error) {
		return queries.StreamEnd(ctx, db.StreamEndParams{ID: s.writer.ID(), Token: s.writer.Token()})
	})
	if err != nil {
		return err
	}
	return errDown
}

// remove drops the slot and the publication, or the triggers and the queue.
func (s *session) remove(ctx context.Context, row db.StreamGetRow) error {
	switch row.Mode {
	case ModeWAL:
		if err := wal.DropSlot(ctx, s.Source, row.Slot); err != nil {
			return err
		}
		return wal.Unpublish(ctx, s.Source, row.Slot)
	case ModeTrigger:
		return trigger.Remove(ctx, s.Source, trigger.Schema(s.Name))
	}
	return nil
}
