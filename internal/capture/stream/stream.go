// Package stream owns a stream: it chooses how to read a database, reads it, writes the changes to the log, and records gaps. One
// process at a time owns a stream; the others wait to take it over.
//
//	waiting ──take──▶ running ──error──▶ waiting, and again
//	                     ├──── fenced ──▶ waiting
//	                     ├──── gap ─────▶ recorded; the stream begins again at once
//	                     └──── neither mode is possible ──▶ stopped, with the reason
package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/signal"
	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// Modes.
const (
	ModeWAL     = wal.Mode
	ModeTrigger = trigger.Mode
)

// Defaults of Owner.
const (
	DefaultBeat    = 2 * time.Second
	DefaultLook    = 10 * time.Second
	DefaultPoll    = 20 * time.Millisecond
	DefaultWarn    = int64(1) << 30
	DefaultLimit   = int64(10) << 30
	shortest       = time.Second
	longest        = 30 * time.Second
	silenceInBeats = 5
	slowest        = 10 // times Poll, while there are no changes
)

// Owner owns a stream while it runs. DB, Source, SourceURL and Name have no default.
type Owner struct {
	DB        *postgres.DB // with the log
	Source    *postgres.DB // database to read; equal to DB if it is the log's own
	SourceURL string       // for the connection that replicates; never logged
	Name      string       // of the stream
	Tables    []string     // patterns; those of the stream's configuration if nil
	KeysOnly  []string     // patterns, besides those of the stream's configuration: see Config
	Mode      string       // chosen if empty
	Process   string       // name of this process, for people
	Clock     pace.Clock   // the system's if nil

	Retention time.Duration // of the log; log.DefaultRetention if 0
	Hold      time.Duration // of the log for a consumer that does not receive changes: see log.Keep
	Limit     int64         // bytes of WAL that the slot may hold back before it is dropped; DefaultLimit if 0
	Warn      int64         // bytes from which on the stream's state warns, half of the limit at most; DefaultWarn if 0
	Beat      time.Duration // DefaultBeat if 0
	Look      time.Duration // interval of looks at tables, partitions and the disk; DefaultLook if 0
	Poll      time.Duration // interval of reads of the queue in trigger mode; DefaultPoll if 0

	// Failed, if not nil, is called with the reason each time that the owner stops reading because of an error.
	Failed func(ctx context.Context, err error)
	// Listeners receive the signals; none if empty.
	Listeners telemetry.Listeners

	unreadable int // how often in a row the server could not read the slot's WAL
}

// gap is the error that changes are missing, so the stream has to begin again.
type gap struct {
	kind   string
	reason string
	tables []string
}

func (g *gap) Error() string { return g.reason }

// ErrNoMode says that a database cannot be read in any mode.
var ErrNoMode = errors.New("the database can be read neither from its WAL nor by triggers")

// session is the time from taking a stream to losing or releasing it.
type session struct {
	*Owner

	patterns []string
	looked   time.Time

	mu     sync.Mutex // protects the fields below
	writer *log.Writer
	mode   string
	// modeReason says why this mode was chosen.
	modeReason string
	found      []table.Table // tables to capture
	tables     []table.Table // those of found that can be captured
	before     []string      // tables that were already captured
	byOID      map[uint32]table.Table
	versions   map[string]*version // the last one of each table
	unsaved    []*version          // in their order, until their first change lands
}

// Run owns the stream, or waits until it can, until ctx is done.
func (o *Owner) Run(ctx context.Context) error {
	o.defaults()
	pause := shortest
	for {
		began := o.Clock.Now()
		err := o.once(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, log.ErrTaken) && !errors.Is(err, lease.ErrFenced) {
			if err := o.guard(ctx); err != nil && ctx.Err() == nil && o.Failed != nil {
				o.Failed(ctx, err)
			}
		}
		if errors.Is(err, log.ErrTaken) || errors.Is(err, lease.ErrFenced) || o.Clock.Now().Sub(began) > longest {
			pause = shortest
		}
		if err := o.Clock.Sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(longest, pause*2)
	}
}

func (o *Owner) defaults() {
	if o.Clock == nil {
		o.Clock = pace.SystemClock{}
	}
	for value, byDefault := range map[*time.Duration]time.Duration{
		&o.Retention: log.DefaultRetention, &o.Beat: DefaultBeat, &o.Look: DefaultLook, &o.Poll: DefaultPoll,
	} {
		if *value == 0 {
			*value = byDefault
		}
	}
	if o.Limit == 0 {
		o.Limit = DefaultLimit
	}
	if o.Warn == 0 {
		o.Warn = DefaultWarn
	}
}

// once takes the stream and reads it until an error. A gap is recorded, and reading begins again.
func (o *Owner) once(ctx context.Context) error {
	writer, err := log.Take(ctx, log.Config{DB: o.DB, Stream: o.Name, Owner: o.Process, Clock: o.Clock, Silence: silenceInBeats * o.Beat})
	if err != nil {
		return err
	}
	s := &session{Owner: o, writer: writer}
	defer writer.Release(ctx)
	err = writer.Keep(ctx, o.Beat, s.readOn)
	if errors.Is(err, errDown) {
		return err
	}
	if ctx.Err() == nil && !errors.Is(err, lease.ErrFenced) {
		if o.Failed != nil {
			o.Failed(ctx, err)
		}
		state := "waiting"
		if errors.Is(err, ErrNoMode) {
			state = "stopped"
		}
		_ = s.state(ctx, state, err.Error()) // If Daymill's database is down, the state cannot be recorded.
	}
	return err
}

// readOn reads the stream, and begins again after each gap.
func (s *session) readOn(ctx context.Context) error {
	err := s.load(ctx)
	for err == nil {
		err = s.read(ctx)
		var missing *gap
		if ctx.Err() == nil && errors.As(err, &missing) {
			err = s.begin(ctx, missing)
		}
	}
	return err
}

func (s *session) state(ctx context.Context, state, reason string) error {
	return s.writer.Own(ctx, func(queries *db.Queries) (int64, error) {
		return queries.StreamState(ctx, db.StreamStateParams{ID: s.writer.ID(), Token: s.writer.Token(), State: state, Reason: reason})
	})
}

func (s *session) stream(ctx context.Context) (db.StreamGetRow, error) {
	row, err := db.New(s.DB).StreamGet(ctx, s.Name)
	if err != nil {
		return row, fmt.Errorf("read stream %s: %w", s.Name, err)
	}
	return row, nil
}

// read chooses the mode and reads in it. It always returns an error.
func (s *session) read(ctx context.Context) error {
	row, err := s.stream(ctx)
	if err != nil {
		return err
	}
	if err := s.find(ctx); err != nil {
		return err
	}
	if len(s.patterns) == 0 {
		return s.takeDown(ctx, row)
	}
	mode, reason, err := choose(ctx, s.Source, s.Mode, s.tables)
	if err != nil {
		return err
	}
	s.mode, s.modeReason = mode, reason
	if row.Mode != mode {
		var missing *gap
		if row.Mode != "" {
			missing = &gap{kind: "mode", reason: "the mode changed from " + row.Mode + " to " + mode + ": " + reason}
			if err := s.remove(ctx, row); err != nil {
				return err
			}
		}
		if err := s.begin(ctx, missing); err != nil {
			return err
		}
		if row, err = s.stream(ctx); err != nil {
			return err
		}
	}
	prepare := s.prepareWAL
	if mode == ModeTrigger {
		prepare = s.prepareTrigger
	}
	read, err := prepare(ctx, row)
	if err != nil {
		return err
	}
	if err := s.state(ctx, "running", ""); err != nil {
		return err
	}
	telemetry.Tell(ctx, s.Listeners, signal.StreamStart{Stream: s.Name, Mode: mode, Position: s.writer.Position()})
	s.looked = s.Clock.Now()
	return pace.Beside(ctx, s.Clock, s.Beat, s.watch, read)
}

// skip is how many positions are left out when a stream begins again. A restore or a failover may have moved the log back in time. If a
// position that a sink has already seen were used again, the sink would take the new change for one that it has, or for an older one.
const skip = int64(1) << 32

// begin creates the slot or the queue, if there is none, and begins the stream there. It records missing before that, because the
// evidence of the gap disappears together with the old slot or queue.
func (s *session) begin(ctx context.Context, missing *gap) error {
	if missing != nil {
		if err := s.lost(ctx, *missing); err != nil {
			return err
		}
	}
	var params db.StreamBeginParams
	var err error
	if s.mode == ModeWAL {
		params, err = s.beginWAL(ctx)
	} else {
		params, err = s.beginTrigger(ctx)
	}
	if err != nil {
		return err
	}
	params.ID, params.Token = s.writer.ID(), s.writer.Token()
	if missing != nil {
		params.Skip = skip
	}
	return s.writer.Tx(ctx, func(_ pgx.Tx, queries *db.Queries) error {
		_, err := queries.StreamMode(ctx, db.StreamModeParams{ID: params.ID, Token: params.Token, Mode: s.mode, ModeReason: s.modeReason})
		if err == nil {
			_, err = queries.StreamBegin(ctx, params)
		}
		if err != nil {
			return fmt.Errorf("begin stream %s: %w", s.Name, err)
		}
		return nil
	})
}

// tell tells the listeners of a recorded gap.
func (o *Owner) tell(ctx context.Context, after int64, g gap) {
	telemetry.Tell(ctx, o.Listeners, signal.Gap{Stream: o.Name, Kind: g.kind, After: after, Tables: len(g.tables)})
}

// lost records that changes are missing, before capturing continues: if the process ended in between, nothing would show the gap
// afterwards. The snapshot that repairs the gap waits until the stream runs again, because rows that it read earlier could change unseen.
func (s *session) lost(ctx context.Context, missing gap) error {
	err := s.writer.Tx(ctx, func(tx pgx.Tx, queries *db.Queries) error {
		_, err := queries.StreamState(ctx, db.StreamStateParams{ID: s.writer.ID(), Token: s.writer.Token(), State: "waiting", Reason: missing.reason})
		if err != nil {
			return fmt.Errorf("write to stream %s: %w", s.Name, err)
		}
		return s.insertGap(ctx, tx, s.writer.ID(), s.writer.Position(), missing)
	})
	if err == nil {
		s.tell(ctx, s.writer.Position(), missing)
	}
	return err
}

func (o *Owner) insertGap(ctx context.Context, tx pgx.Tx, id int32, position int64, g gap) error {
	tables := g.tables
	if tables == nil {
		tables = []string{}
	}
	err := db.New(tx).GapInsert(ctx, db.GapInsertParams{StreamID: id, Kind: g.kind, Reason: g.reason, After: position, Tables: tables})
	if err != nil {
		return fmt.Errorf("record a gap: %w", err)
	}
	return o.repair(ctx, tx, g.tables)
}

// repair requests a snapshot of tables for all consumers, if the stream's configuration says that gaps are repaired.
func (o *Owner) repair(ctx context.Context, tx pgx.Tx, tables []string) error {
	row, err := db.New(tx).StreamGet(ctx, o.Name)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", o.Name, err)
	}
	if !row.Repair {
		return nil
	}
	return snapshot.Request(ctx, tx, o.Name, "", tables)
}
