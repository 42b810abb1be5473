// Package stream writes the transactions of a database to the segments of its archive.
//
//	slot ──▶ SQL of each transaction ──▶ segment (fsync) ──▶ confirm
//
// The stream confirms a position to the server only after everything before it is durable. When it starts, it truncates the last segment
// after its last complete transaction and continues there. So every transaction is in the archive exactly once.
package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// Defaults of Config.
const (
	DefaultSize = 64 << 20
	DefaultAge  = 5 * time.Minute

	// syncEvery is how long a transaction waits for others to become durable with it.
	syncEvery = 20 * time.Millisecond
	// beat is how often an idle stream tells the server its position, and quiet how often it writes the position to the segment.
	beat  = time.Second
	quiet = 10 * time.Second
	// rest is how long a segment without transactions stays unsealed, if only sealing makes it durable.
	rest = time.Hour
	// unfinished is more than a crash takes away of a record of which only a part was on disk, in bytes. An idle stream may be at that part.
	unfinished = 1 << 20
	// closing is how long sealing the last segment may take when the stream stops.
	closing = 30 * time.Second
)

// Config says what to archive and where. Size, Age and the functions may be zero.
type Config struct {
	Source *postgres.DB
	URL    string
	Store  *store.Store
	Clock  pace.Clock
	Size   int64         // of text, after which a segment is sealed; DefaultSize
	Age    time.Duration // after which a segment with transactions is sealed; DefaultAge

	Started func()                  // called when the stream runs
	Sealed  func(seal segment.Seal) // called for each segment
	// Lost is called after a gap was recorded because the archive does not have a schema change.
	Lost func(gap chain.Gap)
}

// ErrGap means that transactions are missing between the archive and the slot.
var ErrGap = errors.New("transactions are missing in the archive")

// ErrOlder means that the database lacks what was archived: it was restored from a backup.
var ErrOlder = errors.New("the database is older than its archive, because it was restored from a backup")

// ErrBusy means that another process reads the slot.
var ErrBusy = errors.New("another process archives this database")

// settings are the prelude's settings that the texts of values depend on, because the database or the role may have others.
//
//nolint:gochecknoglobals // A list.
var settings = []string{"client_encoding=UTF8", "extra_float_digits=3", "lc_monetary=C", "quote_all_identifiers=off", "search_path=pg_catalog"}

// errEnded means that the server ended the stream.
var errEnded = errors.New("the server ended the stream")

type reader struct {
	config    Config
	conn      *pgconn.PgConn
	writer    *segment.Writer
	decoder   decoder
	end       pglogrepl.LSN // of the server's WAL
	confirmed pglogrepl.LSN // position of the slot when the stream started
	dirty     bool          // something was written and is not durable yet
	open      bool          // a transaction is being written
	sequences map[string]string
	moved     bool // there were transactions since the sequences were written
	synced    time.Time
	sealed    time.Time
	idle      time.Time
}

// Run archives until ctx is done, and returns nil then, or until an error.
func Run(ctx context.Context, config Config) (err error) {
	if config.Size == 0 {
		config.Size = DefaultSize
	}
	if config.Age == 0 {
		config.Age = DefaultAge
	}
	files := &chain.Reader{}
	first, err := open(ctx, config, files)
	if err != nil {
		return err
	}
	manifest, now := first.manifest, config.Clock.Now()
	r := &reader{config: config, sequences: map[string]string{}, synced: now, sealed: now, idle: now}
	r.decoder = decoder{source: config.Source, tables: map[uint32]*known{}, triggers: !manifest.Detection}
	if r.decoder.triggers {
		if r.decoder.prefix, err = ddl.Prefix(ctx, config.Source); err != nil {
			return err
		}
	}
	if r.conn, err = wal.Connect(ctx, config.URL, settings...); err != nil {
		return err
	}
	defer r.conn.Close(context.WithoutCancel(ctx))
	if err := r.start(ctx, manifest.Slot); err != nil {
		return err
	}
	// The slot has one reader at a time: from here on, only this process writes the files.
	if err := r.resume(ctx, files); err != nil {
		return err
	}
	if config.Started != nil {
		config.Started()
	}
	err = r.receive(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	return errors.Join(err, r.writer.Close(ctx, err == nil && !r.open))
}

// Check returns the error with which Run would fail at once, such as [ErrGap].
func Check(ctx context.Context, config Config) error {
	_, err := open(ctx, config, &chain.Reader{})
	return err
}

// opened is an archive to which the stream can write.
type opened struct {
	manifest  chain.Manifest
	writer    *segment.Writer // of the current chain of segments
	cut       int64           // where to cut its file
	confirmed pglogrepl.LSN   // position of the slot
}

// resume opens the archive's files. If the transaction that was archived last is not confirmed to the server, it must send it again.
func (r *reader) resume(ctx context.Context, files *chain.Reader) error {
	o, err := open(ctx, r.config, files)
	if err != nil {
		return err
	}
	r.writer, r.decoder.writer, r.confirmed = o.writer, o.writer, o.confirmed
	if o.confirmed <= o.writer.Last.LSN {
		r.decoder.expect = o.writer.Last
	}
	return o.writer.Cut(o.cut)
}

// open reads the archive, and writes nothing. It returns ErrGap if the slot does not have all changes that the archive lacks.
func open(ctx context.Context, config Config, files *chain.Reader) (o opened, err error) {
	archive, err := files.Read(ctx, config.Store)
	if err != nil {
		return o, err
	}
	o.manifest = archive.Manifest
	codec, err := o.manifest.Codec()
	if err != nil {
		return o, err
	}
	begins, err := pglogrepl.ParseLSN(archive.Begins())
	if err != nil {
		return o, fmt.Errorf("read where the archive begins: %w", err)
	}
	if o.writer, o.cut, err = segment.Open(config.Store, codec, begins, archive.Segments, archive.Open); err != nil {
		return o, err
	}
	o.confirmed, err = check(ctx, config, o.manifest, o.writer.To)
	// After a gap, the chain begins where its slot was created. A slot that is behind that comes from an older copy of the database.
	if err == nil && archive.Begins() > o.manifest.From && o.confirmed < begins {
		err = fmt.Errorf("%w: its slot %s is from before the last gap", ErrOlder, o.manifest.Slot)
	}
	return o, err
}

// check returns the position of the slot, and ErrGap if the slot does not have all changes after a position.
func check(ctx context.Context, config Config, manifest chain.Manifest, to pglogrepl.LSN) (confirmed pglogrepl.LSN, err error) {
	if err := manifest.Belongs(ctx, config.Source); err != nil {
		return 0, err
	}
	system, err := wal.Identify(ctx, config.URL)
	if err != nil {
		return 0, err
	}
	slot, has, err := wal.FindSlot(ctx, config.Source, manifest.Slot)
	switch {
	case err != nil:
		return 0, err
	case system.WAL+unfinished < to, !has && system.WAL < to: // A new chain begins after the archive's end.
		return 0, fmt.Errorf("%w, and is archived again once its WAL, which ends at %s, is longer than %s: to archive it now, run daymill archive remove, and then init with a new place",
			ErrOlder, system.WAL, to)
	case !has:
		return 0, fmt.Errorf("%w: the slot %s is gone", ErrGap, manifest.Slot)
	case slot.Lost():
		return 0, fmt.Errorf("%w: the slot %s was invalidated, it held back more WAL than max_slot_wal_keep_size allows", ErrGap, manifest.Slot)
	case slot.Confirmed > to:
		return 0, fmt.Errorf("%w: the slot %s is ahead of the last segment, at %s", ErrGap, manifest.Slot, slot.Confirmed)
	}
	return slot.Confirmed, nil
}

// start starts replication at what was confirmed to the slot. It waits until the server notices that the previous reader has died.
func (r *reader) start(ctx context.Context, slot string) error {
	const tries = 100
	for try := 1; ; try++ {
		err := pglogrepl.StartReplication(ctx, r.conn, slot, 0, pglogrepl.StartReplicationOptions{
			Mode: pglogrepl.LogicalReplication,
			PluginArgs: []string{
				"proto_version '1'", "messages 'true'", `publication_names '"` + slot + `"'`,
			},
		})
		if err == nil {
			return nil
		}
		if try == tries && postgres.Code(err) == pgerrcode.ObjectInUse {
			return ErrBusy
		}
		if postgres.Code(err) != pgerrcode.ObjectInUse {
			return fmt.Errorf("start replication from slot %s: %w", slot, err)
		}
		if err := r.config.Clock.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (r *reader) receive(ctx context.Context) error {
	socket := r.conn.Conn()
	wake := func() {
		after := beat
		if r.dirty {
			after = syncEvery
		}
		_ = socket.SetReadDeadline(time.Now().Add(after)) //nolint:forbidigo // The socket's own time. A dead socket shows when read.
		if ctx.Err() != nil {
			_ = socket.SetReadDeadline(time.Unix(1, 0))
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	wake()
	for {
		message, err := r.conn.ReceiveMessage(context.Background()) //nolint:contextcheck // The deadline does the same at less cost.
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && pgconn.Timeout(err):
			if err := r.turn(ctx); err != nil {
				return err
			}
			wake()
			continue
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		}
		was := r.dirty
		if err := r.message(ctx, message); err != nil {
			return err
		}
		if r.dirty && !r.open && r.config.Clock.Now().Sub(r.synced) > 5*syncEvery {
			if err := r.sync(ctx); err != nil {
				return err
			}
		}
		if r.dirty != was {
			wake()
		}
	}
}

func (r *reader) message(ctx context.Context, message pgproto3.BackendMessage) error {
	switch received := message.(type) {
	case *pgproto3.CopyData:
		switch received.Data[0] {
		case pglogrepl.PrimaryKeepaliveMessageByteID:
			keepalive, err := pglogrepl.ParsePrimaryKeepaliveMessage(received.Data[1:])
			if err != nil {
				return fmt.Errorf("read a keepalive: %w", err)
			}
			r.end = max(r.end, keepalive.ServerWALEnd)
			if keepalive.ReplyRequested {
				return r.status(ctx)
			}
		case pglogrepl.XLogDataByteID:
			data, err := pglogrepl.ParseXLogData(received.Data[1:])
			if err != nil {
				return fmt.Errorf("read the stream: %w", err)
			}
			if err := r.decoder.decode(ctx, data.WALData); err != nil {
				return err
			}
			r.open = r.decoder.open
			r.dirty, r.moved = true, true
			if gap := r.decoder.gap; gap != nil && !r.open {
				if err := r.lost(ctx, *gap); err != nil {
					return err
				}
			}
		}
	case *pgproto3.ErrorResponse:
		return fmt.Errorf("read the slot: %w", pgconn.ErrorResponseToPgError(received))
	case *pgproto3.CopyDone:
		return errEnded
	}
	return nil
}

// lost records the gap of a schema change that the archive does not have, before the position is confirmed to the slot.
func (r *reader) lost(ctx context.Context, gap chain.Gap) error {
	r.decoder.gap = nil
	if err := chain.AddGap(ctx, r.config.Store, gap); err != nil {
		return err
	}
	if r.config.Lost != nil {
		r.config.Lost(gap)
	}
	return nil
}

// turn is called when no message arrives.
func (r *reader) turn(ctx context.Context) error {
	now := r.config.Clock.Now()
	if last := r.decoder.expect; last.LSN != 0 {
		if !r.open && r.end > last.LSN {
			return r.decoder.older()
		}
		r.dirty = false
		return r.status(ctx)
	}
	if !r.open && !r.dirty && r.end > r.writer.To && now.Sub(r.idle) >= quiet {
		r.writer.Idle(r.end, now)
		r.dirty, r.idle = true, now
	}
	// A segment that is durable only once it is sealed is sealed when it is old enough.
	if (r.dirty || r.writer.To > r.writer.Durable) && !r.open {
		return r.sync(ctx)
	}
	return r.status(ctx)
}

// sync makes complete transactions durable, confirms them to the server, and seals the segment when it is time.
func (r *reader) sync(ctx context.Context) error {
	now := r.config.Clock.Now()
	if r.decoder.expect.LSN != 0 {
		r.dirty, r.synced = false, now
		return r.status(ctx)
	}
	age := r.config.Age
	if r.writer.Transactions() == 0 {
		age = max(age, rest)
	}
	seal := r.writer.Size() > r.config.Size || now.Sub(r.sealed) > age || r.writer.To > r.writer.Durable+pglogrepl.LSN(16*r.config.Size) //nolint:gosec // Positive.
	if r.moved && (seal || now.Sub(r.idle) > beat) {
		if r.decoder.resets { // The values may have been read before, when the stream had not reached the statement yet.
			clear(r.sequences)
			r.decoder.resets = false
		}
		text, err := segment.Sequences(ctx, r.config.Source, r.sequences)
		if err != nil {
			return err
		}
		r.writer.Write([]byte(text))
		r.moved, r.idle = false, now
		// Lines after the last COMMIT would be cut off, so this one has the position.
		if text != "" {
			r.writer.Idle(r.writer.To, now)
		}
	}
	if seal {
		done, err := r.writer.Seal(ctx)
		if err != nil {
			return err
		}
		r.sealed = now
		if r.config.Sealed != nil {
			r.config.Sealed(done)
		}
	}
	if err := r.writer.Sync(); err != nil {
		return err
	}
	r.dirty, r.synced = false, now
	return r.status(ctx)
}

// status confirms the durable position to the server, or nothing new while the server may be an older one.
func (r *reader) status(ctx context.Context) error {
	position := r.writer.Durable
	if r.decoder.expect.LSN != 0 {
		position = r.confirmed
	}
	err := pglogrepl.SendStandbyStatusUpdate(ctx, r.conn, pglogrepl.StandbyStatusUpdate{
		WALWritePosition: position, WALFlushPosition: position, WALApplyPosition: position, ReplyRequested: false,
	})
	if err != nil {
		return fmt.Errorf("confirm: %w", err)
	}
	return nil
}

func oneLine(text string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(text) }
