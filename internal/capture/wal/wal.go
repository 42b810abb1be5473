// Package wal reads a database's changes from its WAL, through a logical replication slot with pgoutput, protocol version 1.
//
//	receive ──▶ decode ──▶ batch (10,000 rows or 5 ms) ──▶ land ──▶ confirm
//	            the next batch is decoded while one lands
//
// A position is confirmed to the server only after everything before it has landed. A transaction larger than a batch lands in parts. After a
// crash in between, the parts that have landed are recognized, and do not land again: see Last.
package wal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/value"
	"github.com/daymill/daymill/internal/postgres"
)

// Defaults of Config.
const (
	DefaultRows = 10_000
	DefaultWait = 5 * time.Millisecond
	DefaultBeat = 2 * time.Second

	// maxBytes is the size of rows, in bytes, at which a batch is full.
	maxBytes = 4 << 20
	// answer is the interval of status messages to the server while a batch lands.
	answer = time.Second
)

// Batch is changes that land together.
type Batch struct {
	Changes []change.Change
	// End is the position up to which the source has been read once the batch has landed; 0 leaves it unchanged.
	End         pglogrepl.LSN
	CommittedAt time.Time // of the last transaction; zero if none ended
	// Watermarks are what Emit wrote before End.
	Watermarks []string
	// Last is the last transaction that has changes in the batch; zero if none has.
	Last Last
}

// Config configures a reader. Only Rows, Wait and Beat have defaults.
type Config struct {
	URL         string // of the source
	Slot        string
	Publication string
	After       pglogrepl.LSN // what the server knows to have landed
	Last        Last          // what has landed last

	Types *value.Types
	// Table returns a table by its OID or, if it was dropped, what is known of it by name.
	Table func(ctx context.Context, oid uint32, schema, name string) (table.Table, bool, error)
	// Fill returns the values of a row by its key, whose values are text; none if there is no such row. If nil, unchanged values stay missing.
	Fill func(ctx context.Context, oid uint32, key map[string]string) (map[string]json.RawMessage, error)
	// Version returns the schema version of a table that has these columns. It is called before the first change with them.
	Version func(schema, name string, columns []table.Column) int
	// Watermark reports whether a message's content is a watermark of the stream. Any role can write messages.
	Watermark func(content string) bool
	// Land writes a batch to the log. It is called by one goroutine at a time.
	Land func(ctx context.Context, batch Batch) error

	Rows int           // in a batch
	Wait time.Duration // until a batch that is not full lands
	Beat time.Duration // after which an idle stream's position moves
}

// Reader reads one slot.
type Reader struct {
	config  Config
	decoder decoder
	conn    *pgconn.PgConn
	batches chan Batch
	landed  atomic.Uint64
	busy    atomic.Int32 // batches that were handed to land and have not landed yet
	wal     pglogrepl.LSN
}

// Run reads until ctx is done, or until an error of the connection, the server, or Config.Land.
func Run(ctx context.Context, config Config) error {
	if config.Rows == 0 {
		config.Rows = DefaultRows
	}
	if config.Wait == 0 {
		config.Wait = DefaultWait
	}
	if config.Beat == 0 {
		config.Beat = DefaultBeat
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &Reader{config: config, batches: make(chan Batch)}
	r.decoder = decoder{config: &r.config, relations: map[uint32]*relation{}, later: map[uint32]*pglogrepl.RelationMessage{}}
	r.decoder.found = config.Last.XID == 0 || config.Last.Commit < config.After
	r.landed.Store(uint64(config.After))
	if err := r.connect(ctx); err != nil {
		return err
	}
	defer r.conn.Close(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.land(ctx); err != nil {
			cancel(err)
		}
	}()
	err := r.receive(ctx)
	cancel(err)
	<-done
	return context.Cause(ctx)
}

// settings make the server write values as to_jsonb does, whatever the database's settings are.
//
//nolint:gochecknoglobals // A constant.
var settings = []string{
	"client_encoding=UTF8", "search_path=pg_catalog,pg_temp", "bytea_output=hex", "DateStyle=ISO,YMD", "IntervalStyle=postgres", "TimeZone=UTC",
	"extra_float_digits=1", "quote_all_identifiers=off",
}

// Connect opens a replication connection, with additional settings.
func Connect(ctx context.Context, url string, further ...string) (*pgconn.PgConn, error) {
	conn, err := postgres.Replicate(ctx, url, "daymill capture", slices.Concat(settings, further)...)
	if err != nil {
		return nil, fmt.Errorf("connect for replication: %w", err)
	}
	return conn, nil
}

func (r *Reader) connect(ctx context.Context) (err error) {
	if r.conn, err = Connect(ctx, r.config.URL); err != nil {
		return err
	}
	arguments := []string{"proto_version '1'", "publication_names " + literal(r.config.Publication), "messages 'true'"}
	err = pglogrepl.StartReplication(ctx, r.conn, r.config.Slot, r.config.After, pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: arguments,
	})
	if err != nil {
		_ = r.conn.Close(context.WithoutCancel(ctx)) // It cannot be used any more.
		return fmt.Errorf("start replication from slot %s: %w", r.config.Slot, err)
	}
	return nil
}

// literal quotes an identifier as part of a list of names in a string.
func literal(name string) string {
	return `'"` + strings.NewReplacer(`"`, `""`, `'`, `''`).Replace(name) + `"'`
}

// land lands one batch after another.
func (r *Reader) land(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case batch := <-r.batches:
			if err := r.config.Land(ctx, batch); err != nil {
				return err
			}
			if batch.End > 0 {
				r.landed.Store(uint64(batch.End))
			}
			r.busy.Add(-1)
		}
	}
}

// receive owns the connection. A deadline on the socket wakes it, which has no cost per message.
func (r *Reader) receive(ctx context.Context) error {
	socket := r.conn.Conn()
	wake := func(after time.Duration) {
		_ = socket.SetReadDeadline(time.Now().Add(after)) //nolint:forbidigo // The socket's own time. A dead socket shows when read.
		if ctx.Err() != nil {                             // It was done before the deadline was set.
			_ = socket.SetReadDeadline(time.Unix(1, 0))
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	pending := false
	wake(r.config.Beat)
	for {
		message, err := r.conn.ReceiveMessage(context.Background()) //nolint:contextcheck // A context that can be canceled is slow per message; the deadline does the same.
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && pgconn.Timeout(err):
			if err := r.turn(ctx); err != nil {
				return err
			}
			pending = r.decoder.due()
			wake(r.next(pending))
			continue
		case err != nil:
			return fmt.Errorf("receive from slot %s: %w", r.config.Slot, err)
		}
		if err := r.message(ctx, message); err != nil {
			return err
		}
		if !pending && r.decoder.due() {
			pending = true
			wake(r.config.Wait)
		}
		if len(r.decoder.batch.Changes) >= r.config.Rows || len(r.decoder.arena) >= maxBytes {
			if err := r.flush(ctx); err != nil {
				return err
			}
			pending = false
		}
	}
}

func (r *Reader) next(pending bool) time.Duration {
	if pending {
		return r.config.Wait
	}
	return r.config.Beat
}

func (r *Reader) message(ctx context.Context, message pgproto3.BackendMessage) error {
	switch m := message.(type) {
	case *pgproto3.CopyData:
		switch m.Data[0] {
		case pglogrepl.PrimaryKeepaliveMessageByteID:
			keepalive, err := pglogrepl.ParsePrimaryKeepaliveMessage(m.Data[1:])
			if err != nil {
				return fmt.Errorf("read a keepalive: %w", err)
			}
			r.wal = max(r.wal, keepalive.ServerWALEnd)
			if keepalive.ReplyRequested {
				return r.status(ctx, false)
			}
			return nil
		case pglogrepl.XLogDataByteID:
			data, err := pglogrepl.ParseXLogData(m.Data[1:])
			if err != nil {
				return fmt.Errorf("read the stream: %w", err)
			}
			return r.decoder.decode(ctx, data.WALData)
		}
	case *pgproto3.ErrorResponse:
		return fmt.Errorf("read slot %s: %w", r.config.Slot, pgconn.ErrorResponseToPgError(m))
	case *pgproto3.CopyDone:
		return fmt.Errorf("read slot %s: %w", r.config.Slot, errEnded)
	}
	return nil
}

var errEnded = errors.New("the server ended the stream")

// turn is called when a deadline has passed. It lands complete transactions, or asks the server for its position.
func (r *Reader) turn(ctx context.Context) error {
	if r.decoder.due() {
		if r.decoder.open {
			return nil // The rest of the transaction is on its way.
		}
		return r.flush(ctx)
	}
	if err := r.idle(ctx); err != nil {
		return err
	}
	return r.status(ctx, true)
}

// flush hands the batch to land. While land is busy with another one, it waits and sends status messages to the server.
func (r *Reader) flush(ctx context.Context) error {
	batch := r.decoder.take()
	r.busy.Add(1)
	timer := time.NewTicker(answer)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case r.batches <- batch:
			return r.status(ctx, false)
		case <-timer.C:
			if err := r.status(ctx, false); err != nil {
				return err
			}
		}
	}
}

// idle advances the position to the server's when there is nothing to land: first in the log's database, then on the server, so that a
// slot that is ahead of the log must have been moved by somebody else. It runs once a beat, because its own writes create WAL.
func (r *Reader) idle(ctx context.Context) error {
	end := max(r.wal, r.decoder.batch.End)
	if !r.decoder.found {
		if end > r.config.Last.Commit {
			return ErrRestored
		}
		return nil
	}
	if r.decoder.open || r.busy.Load() > 0 || uint64(end) <= r.landed.Load() {
		return nil
	}
	r.decoder.batch.End = end
	return r.flush(ctx)
}

// status tells the server what has landed, as all three of its positions.
func (r *Reader) status(ctx context.Context, ask bool) error {
	landed := pglogrepl.LSN(r.landed.Load())
	err := pglogrepl.SendStandbyStatusUpdate(ctx, r.conn, pglogrepl.StandbyStatusUpdate{
		WALWritePosition: landed, WALFlushPosition: landed, WALApplyPosition: landed, ReplyRequested: ask,
	})
	if err != nil {
		return fmt.Errorf("confirm to slot %s: %w", r.config.Slot, err)
	}
	return nil
}
