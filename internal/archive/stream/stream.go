// Package stream writes the transactions of a database to the segments of its archive.
//
//	slot ──▶ SQL of each transaction ──▶ segment (fsync) ──▶ confirm
//
// The stream confirms a position to the server only after everything before it is durable. When it starts, it cuts the last segment off
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

	"github.com/daymill/daymill/internal/archive/base"
	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/segment"
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
	// beat is how often an idle stream tells the server how far it is, and quiet how often it writes that down.
	beat  = time.Second
	quiet = 10 * time.Second
)

// Config says what to archive and where. Size, Age and Started may be zero.
type Config struct {
	Source  *postgres.DB
	URL     string
	Archive string
	Clock   pace.Clock
	Size    int64         // after which a segment is sealed; DefaultSize
	Age     time.Duration // after which a segment with transactions is sealed; DefaultAge
	Started func()        // called when the stream runs
}

// settings are what the prelude has, of those that the texts of values depend on: the database, or the role, may have others.
//
//nolint:gochecknoglobals // A list.
var settings = []string{"client_encoding=UTF8", "extra_float_digits=3", "lc_monetary=C", "quote_all_identifiers=off", "search_path=pg_catalog"}

// ErrGap means that transactions are missing between the archive and the slot.
var ErrGap = errors.New("transactions are missing in the archive: begin a new one with daymill archive remove and init")

// errEnded means that the server ended the stream.
var errEnded = errors.New("the server ended the stream")

type reader struct {
	config    Config
	conn      *pgconn.PgConn
	writer    *segment.Writer
	decoder   decoder
	end       pglogrepl.LSN // of the server's WAL
	durable   pglogrepl.LSN // up to where the segment is
	dirty     bool          // something is written and not durable
	open      bool          // a transaction is being written
	sequences map[string]string
	moved     bool // transactions since the sequences were written
	synced    time.Time
	sealed    time.Time
	idle      time.Time
}

// Run archives until ctx is done, which is no error, or something fails.
func Run(ctx context.Context, config Config) (err error) {
	if config.Size == 0 {
		config.Size = DefaultSize
	}
	if config.Age == 0 {
		config.Age = DefaultAge
	}
	manifest, err := base.Read(config.Archive)
	if err != nil {
		return err
	}
	from, err := pglogrepl.ParseLSN(manifest.Base)
	if err != nil {
		return fmt.Errorf("read the manifest of the archive: %w", err)
	}
	writer, cut, err := segment.Open(config.Archive, from)
	if err != nil {
		return err
	}
	if err := check(ctx, config, manifest, writer.To); err != nil {
		return err
	}
	now := config.Clock.Now()
	r := &reader{config: config, writer: writer, durable: writer.To, sequences: map[string]string{}, synced: now, sealed: now, idle: now}
	prefix, err := ddl.Prefix(ctx, config.Source)
	if err != nil {
		return err
	}
	r.decoder = decoder{source: config.Source, writer: writer, tables: map[uint32]*known{}, prefix: prefix}
	if r.conn, err = wal.Connect(ctx, config.URL, settings...); err != nil {
		return err
	}
	defer r.conn.Close(context.WithoutCancel(ctx))
	if err := r.start(ctx, manifest.Slot); err != nil {
		return err
	}
	// The slot has one reader at a time: from here on the files are ours.
	if err := writer.Cut(cut); err != nil {
		return err
	}
	if config.Started != nil {
		config.Started()
	}
	err = r.receive(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, writer.Close())
}

// check checks that the slot still has every transaction that the archive lacks.
func check(ctx context.Context, config Config, manifest base.Manifest, to pglogrepl.LSN) error {
	system, err := wal.Identify(ctx, config.URL)
	if err != nil {
		return err
	}
	slot, has, err := wal.FindSlot(ctx, config.Source, manifest.Slot)
	switch {
	case err != nil:
		return err
	case system.ID != manifest.SystemID:
		return fmt.Errorf("the archive is of database %s in another cluster", manifest.Database)
	case !has:
		return fmt.Errorf("%w: the slot %s is gone", ErrGap, manifest.Slot)
	case slot.Lost():
		return fmt.Errorf("%w: the slot %s was invalidated, it held back more WAL than max_slot_wal_keep_size allows", ErrGap, manifest.Slot)
	case slot.Confirmed > to:
		return fmt.Errorf("%w: the slot %s is ahead of the last segment, at %s", ErrGap, manifest.Slot, slot.Confirmed)
	}
	return nil
}

// start waits for the server to notice that the last reader has died.
func (r *reader) start(ctx context.Context, slot string) error {
	const tries = 100
	for try := 1; ; try++ {
		err := pglogrepl.StartReplication(ctx, r.conn, slot, r.writer.To, pglogrepl.StartReplicationOptions{
			Mode: pglogrepl.LogicalReplication,
			PluginArgs: []string{
				"proto_version '1'", "messages 'true'", `publication_names '"` + slot + `"'`,
			},
		})
		if err == nil {
			return nil
		}
		if postgres.Code(err) != pgerrcode.ObjectInUse || try == tries {
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
		message, err := r.conn.ReceiveMessage(context.Background()) //nolint:contextcheck // The deadline does the same, and costs less.
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
	switch m := message.(type) {
	case *pgproto3.CopyData:
		switch m.Data[0] {
		case pglogrepl.PrimaryKeepaliveMessageByteID:
			keepalive, err := pglogrepl.ParsePrimaryKeepaliveMessage(m.Data[1:])
			if err != nil {
				return fmt.Errorf("read a keepalive: %w", err)
			}
			r.end = max(r.end, keepalive.ServerWALEnd)
			if keepalive.ReplyRequested {
				return r.status(ctx)
			}
		case pglogrepl.XLogDataByteID:
			data, err := pglogrepl.ParseXLogData(m.Data[1:])
			if err != nil {
				return fmt.Errorf("read the stream: %w", err)
			}
			if err := r.decoder.decode(ctx, data.WALData); err != nil {
				return err
			}
			r.open = r.decoder.open
			r.dirty, r.moved = true, true
		}
	case *pgproto3.ErrorResponse:
		return fmt.Errorf("read the slot: %w", pgconn.ErrorResponseToPgError(m))
	case *pgproto3.CopyDone:
		return errEnded
	}
	return nil
}

// turn is called when no message has arrived for a while.
func (r *reader) turn(ctx context.Context) error {
	now := r.config.Clock.Now()
	if !r.open && !r.dirty && r.end > r.writer.To && now.Sub(r.idle) >= quiet {
		r.writer.Idle(r.end, now)
		r.dirty, r.idle = true, now
	}
	if r.dirty && !r.open {
		return r.sync(ctx)
	}
	return r.status(ctx)
}

// sync makes complete transactions durable, confirms them to the server, and seals the segment when it is time.
func (r *reader) sync(ctx context.Context) error {
	now := r.config.Clock.Now()
	seal := r.writer.Size() > r.config.Size || now.Sub(r.sealed) > r.config.Age
	if r.moved && (seal || now.Sub(r.idle) > beat) {
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
		if err := r.writer.Seal(); err != nil {
			return err
		}
		r.sealed = now
	}
	if err := r.writer.Sync(); err != nil {
		return err
	}
	r.dirty, r.synced, r.durable = false, now, r.writer.To
	return r.status(ctx)
}

// status confirms to the server what is durable.
func (r *reader) status(ctx context.Context) error {
	err := pglogrepl.SendStandbyStatusUpdate(ctx, r.conn, pglogrepl.StandbyStatusUpdate{
		WALWritePosition: r.durable, WALFlushPosition: r.durable, WALApplyPosition: r.durable, ReplyRequested: false,
	})
	if err != nil {
		return fmt.Errorf("confirm: %w", err)
	}
	return nil
}

func oneLine(text string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(text) }
