package log

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/postgres"
)

// columns are the columns of capture.log, in the order in which rows are written.
const columns = "stream_id, position, op, schema_name, table_name, key_hash, key, old, new, unchanged, key_changed, snapshot, " +
	"xid, lsn, ordinal, committed_at, schema_version, consumer, looked_up"

const columnCount = 19

const copySQL = "COPY capture.log (" + columns + ") FROM STDIN (FORMAT binary)"

// Land assigns positions to changes and writes them to the log, together with how far the source was read. Without changes it only moves
// the mark. If a snapshot has moved the stream in the meantime, the changes come after the snapshot's rows. After an error, the changes
// may or may not be in the log: take the stream again and continue from its position.
func (w *Writer) Land(ctx context.Context, changes []change.Change, mark Mark) error {
	for {
		err := postgres.Patiently(ctx, func() error { return w.land(ctx, changes, mark) })
		if postgres.Code(err) != moved {
			return err
		}
		if err := w.refresh(ctx); err != nil {
			return err
		}
	}
}

func (w *Writer) land(ctx context.Context, changes []change.Change, mark Mark) error {
	next := w.position + int64(len(changes))
	for next > w.upto {
		if err := w.extend(ctx); err != nil {
			return err
		}
	}
	conn, err := w.config.DB.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("take a connection: %w", err)
	}
	defer conn.Release()
	advance := w.advance(next, mark)
	if len(changes) == 0 {
		_, err = conn.Conn().PgConn().Exec(ctx, advance).ReadAll()
	} else {
		rows := w.encode(changes)
		if _, err = conn.Conn().PgConn().CopyFrom(ctx, rows, advance+"; "+copySQL); err == nil {
			w.buffer = rows.buffer
		}
	}
	switch {
	case postgres.Code(err) == fenced:
		return lease.ErrFenced
	case err != nil:
		return fmt.Errorf("land %d changes of stream %s: %w", len(changes), w.config.Stream, err)
	}
	w.position = next
	return nil
}

// advance returns the statement that moves the stream. It is sent together with COPY, in one round trip and one transaction, where
// Postgres allows no parameters, so texts are quoted.
func (w *Writer) advance(next int64, mark Mark) string {
	committed := "NULL"
	if !mark.CommittedAt.IsZero() {
		committed = quote(mark.CommittedAt.UTC().Format("2006-01-02 15:04:05.999999") + "+00")
	}
	watermarks := ""
	if len(mark.Watermarks) > 0 {
		rows := make([]string, len(mark.Watermarks))
		for i, token := range mark.Watermarks {
			rows[i] = "(" + quote(token) + ", " + number(int64(w.id)) + ")"
		}
		watermarks = "; INSERT INTO capture.watermark (token, stream_id) VALUES " + strings.Join(rows, ", ") + " ON CONFLICT DO NOTHING"
	}
	return "SELECT capture.advance(" + number(int64(w.id)) + ", " + number(w.Token()) + ", " + number(w.position) + ", " + number(next) + ", " +
		orNull(mark.LSN) + ", " + orNull(mark.Seen) + ", " + committed + ")" + watermarks
}

func orNull(text string) string {
	if text == "" {
		return "NULL"
	}
	return quote(text)
}

// quote writes text as E'…', which means the same whatever standard_conforming_strings says.
func quote(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}

// epoch is the instant that Postgres counts timestamps from.
//
//nolint:gochecknoglobals // A constant.
var epoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// encoder reads changes in COPY's binary format. It encodes them while the server already takes the first ones, and sets their positions and the
// stream's name.
type encoder struct {
	writer  *Writer
	changes []change.Change
	next    int // change to encode
	buffer  []byte
	rest    []byte // of what was encoded, not read yet
	ended   bool
}

// encode returns a reader of changes. It takes the writer's buffer: if the connection breaks, COPY may go on reading for a moment after it has
// returned, so only a COPY that has succeeded gives the buffer back.
func (w *Writer) encode(changes []change.Change) *encoder {
	buffer := w.buffer[:0]
	buffer = append(buffer, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	w.buffer = nil
	return &encoder{writer: w, changes: changes, buffer: buffer, rest: buffer}
}

// Read encodes as many changes as fit, and a part of the next one.
func (e *encoder) Read(to []byte) (int, error) {
	if len(e.rest) >= len(to) { // A large change: moving its rest each time would be slow.
		count := copy(to, e.rest)
		e.rest = e.rest[count:]
		return count, nil
	}
	b := e.buffer[:copy(e.buffer[:cap(e.buffer)], e.rest)]
	for !e.ended && len(b) < len(to) {
		if e.next == len(e.changes) {
			b, e.ended = binary.BigEndian.AppendUint16(b, 0xffff), true
			break
		}
		b = e.row(b)
	}
	e.buffer = b
	if len(b) == 0 {
		return 0, io.EOF
	}
	count := copy(to, b)
	e.rest = b[count:]
	return count, nil
}

// row appends the next change.
func (e *encoder) row(b []byte) []byte {
	c, w := &e.changes[e.next], e.writer
	e.next++
	c.Stream, c.Position = w.config.Stream, w.position+int64(e.next)
	b = binary.BigEndian.AppendUint16(b, columnCount)
	b = appendInt32(b, w.id)
	b = appendInt64(b, c.Position)
	b = appendText(b, string(c.Op))
	b = appendText(b, c.Schema)
	b = appendText(b, c.Table)
	if len(c.Key) == 0 && (c.Op == change.Truncate || c.Op == change.Sweep) {
		b = appendNull(b)
	} else {
		b = appendInt32(b, hash(*c))
	}
	b = appendJSON(b, c.Key)
	b = appendJSON(b, c.Old)
	b = appendJSON(b, c.New)
	b = appendTexts(b, c.Unchanged)
	b = appendBool(b, c.KeyChanged)
	b = appendBool(b, c.Snapshot)
	b = appendInt64(b, c.XID)
	b = appendText(b, c.LSN)
	b = appendInt32(b, int32(c.Ordinal)) //nolint:gosec // Bounded by the size of a transaction.
	b = appendInt64(b, c.CommittedAt.Sub(epoch).Microseconds())
	b = appendInt32(b, int32(c.SchemaVersion)) //nolint:gosec // One for each ALTER TABLE.
	if c.Consumer == "" {
		b = appendNull(b)
	} else {
		b = appendText(b, c.Consumer)
	}
	return appendBool(b, c.LookedUp)
}

// hash decides which shard of a consumer a change belongs to.
func hash(c change.Change) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(sink.Key(c))) // It never fails.
	return int32(h.Sum32())             //nolint:gosec // All bits, the sign's included.
}

func appendNull(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff) }

func appendInt32(b []byte, n int32) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), uint32(n)) //nolint:gosec // The same bits.
}

func appendInt64(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(n)) //nolint:gosec // The same bits.
}

func appendBool(b []byte, is bool) []byte {
	if is {
		return append(b, 0, 0, 0, 1, 1)
	}
	return append(b, 0, 0, 0, 1, 0)
}

func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...) //nolint:gosec // At most 1 GB in Postgres.
}

func appendJSON(b []byte, document []byte) []byte {
	if len(document) == 0 || string(document) == "null" {
		return appendNull(b)
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(document))), document...) //nolint:gosec // As appendText.
}

const oidText = 25

func appendTexts(b []byte, texts []string) []byte {
	if len(texts) == 0 {
		return appendNull(b)
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	for _, n := range []int{1, 0, oidText, len(texts), 1} { // dimensions, no NULL, type, length, lower bound
		b = binary.BigEndian.AppendUint32(b, uint32(n)) //nolint:gosec // Columns of a table.
	}
	for _, text := range texts {
		b = appendText(b, text)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4)) //nolint:gosec // As appendText.
	return b
}
