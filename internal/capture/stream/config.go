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

// Config is what a stream is told to capture.
type Config struct {
	Name   string
	URL    string   // $NAME of the environment variable with the URL of its database
	Tables []string // patterns; the stream is taken down where there are none
	// NoRepair leaves gaps as they are, instead of repairing them by snapshots of the tables that they concern.
	NoRepair bool
}

// Get returns what a stream is told to capture; nothing where there is no such stream.
func Get(ctx context.Context, on postgres.DBTX, name string) (Config, error) {
	row, err := db.New(on).StreamGet(ctx, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return Config{Name: name}, nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read stream %s: %w", name, err)
	}
	return Config{Name: row.Name, URL: row.Url, Tables: row.Tables, NoRepair: !row.Repair}, nil
}

// Names returns the names of all streams.
func Names(ctx context.Context, on postgres.DBTX) ([]string, error) {
	names, err := db.New(on).StreamList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	return names, nil
}

// Place is where a stream is read.
type Place struct {
	Name string
	URL  string // $NAME of the environment variable
}

// Wanted returns the streams that are to be owned, and those that are to be taken down.
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

// Configure tells a stream what to capture, and makes it where there is none, in the caller's transaction. Its owner follows
// within a few seconds.
func Configure(ctx context.Context, tx pgx.Tx, c Config, who audit.Who) error {
	queries := db.New(tx)
	err := queries.StreamEnsure(ctx, c.Name)
	if err == nil {
		if c.Tables == nil {
			c.Tables = []string{}
		}
		err = queries.StreamConfigure(ctx, db.StreamConfigureParams{Name: c.Name, Url: c.URL, Tables: c.Tables, Repair: !c.NoRepair})
	}
	if err != nil {
		return fmt.Errorf("say what stream %s captures: %w", c.Name, err)
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "capture tables", Target: c.Name, Detail: map[string]any{"tables": c.Tables}})
}

// Refuse records why nobody reads a stream, where nobody does. The disk guard cannot look at a database that cannot be opened, so
// the reason also names the slot that may hold back WAL there.
func Refuse(ctx context.Context, tx pgx.Tx, name string, cause error) error {
	row, err := db.New(tx).StreamGet(ctx, name)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", name, err)
	}
	if row.Mode == ModeWAL && row.Slot != "" {
		cause = fmt.Errorf("%w; meanwhile nobody guards its disk: if this lasts, drop the slot there with SELECT pg_drop_replication_slot('%s'), "+
			"and the tables are read again later", cause, row.Slot)
	}
	err = db.New(tx).StreamRefuse(ctx, db.StreamRefuseParams{Name: name, Reason: cause.Error(), Silence: silenceInBeats * DefaultBeat})
	if err != nil {
		return fmt.Errorf("say why stream %s is not read: %w", name, err)
	}
	return nil
}

// errDown says that nothing is to be captured any more, and that the source has nothing of ours.
var errDown = errors.New("nothing is captured")

// takeDown removes from the source what the stream has made there.
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
