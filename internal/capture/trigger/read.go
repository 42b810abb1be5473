package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/postgres"
)

// Mode is the name of this way of reading.
const Mode = "trigger"

// DefaultRows is how many changes land at a time.
const DefaultRows = 10_000

const (
	// maxBytes is the approximate size of a batch's rows, in bytes. The number of rows follows from their size.
	maxBytes = 4 << 20
	// firstRows is how many rows the first batch has.
	firstRows = 500
	// lookAtOnce is how many rows are looked up at a time, at most, and firstLook how many the first time.
	lookAtOnce = 500
	firstLook  = 100
	// rotateAt is the size, in bytes, from which on a queue is put to rest.
	rotateAt = 8 << 20
)

// Reasons why the queue may lack changes.
var (
	// ErrEmptied says that somebody else has emptied a queue, or rewritten it.
	ErrEmptied = errors.New("somebody has emptied the queue of changes")
	// ErrFailed says that changes could not be written to the queue.
	ErrFailed = errors.New("changes could not be written to the queue: the server's log has the warnings")
)

// Mark is the position up to which the queue was read: everything that the snapshot Seen sees and, if Next is not empty, everything that
// the snapshot Next sees up to a number of the sequence.
type Mark struct {
	Seen    string // a pg_snapshot
	Next    string
	Seq     int64
	Witness int64 // of the source; 0 in marks of earlier versions
}

// String returns the form that [ParseMark] parses.
func (m Mark) String() string {
	parts := []string{m.Seen}
	if m.Next != "" {
		parts = append(parts, m.Next, strconv.FormatInt(m.Seq, 10))
	}
	if m.Witness != 0 {
		parts = append(parts, strconv.FormatInt(m.Witness, 10))
	}
	return strings.Join(parts, " ")
}

// ParseMark parses the result of String.
func ParseMark(text string) (m Mark) {
	parts := strings.Split(text, " ")
	m.Seen, parts = parts[0], parts[1:]
	if len(parts) > 1 {
		m.Next = parts[0]
		m.Seq, _ = strconv.ParseInt(parts[1], 10, 64) // String wrote it.
		parts = parts[2:]
	}
	if len(parts) == 1 {
		m.Witness, _ = strconv.ParseInt(parts[0], 10, 64) // String wrote it.
	}
	return m
}

// Batch is changes that land together.
type Batch struct {
	Changes     []change.Change
	Mark        Mark
	CommittedAt time.Time
	Watermarks  []string // what Emit wrote; all changes that were committed before have landed with the batch
}

// Config configures a reader. Only Rows has a default.
type Config struct {
	Schema string // in the source: see Schema
	Source *postgres.DB
	Mark   Mark // what has landed
	// Table returns a table by its OID, also if it was dropped; false if it was never captured.
	Table   func(ctx context.Context, oid uint32) (table.Table, bool, error)
	Version func(schema, name string, columns []table.Column) int
	// Lookup returns the rows of a table with some keys, by the text of their keys, as the transaction sees them.
	Lookup func(ctx context.Context, tx pgx.Tx, t table.Table, keys []json.RawMessage) (map[string]json.RawMessage, error)
	Land   func(ctx context.Context, batch Batch) error
	Rows   int // in a batch
}

// Reader reads the queue of one source.
type Reader struct {
	config    Config
	mark      Mark // what has landed, without the witness; Next is the current turn's
	rows      int  // of the next batch
	look      int  // how many rows are looked up next
	looked    bool // at the witness
	witness   int64
	witnessed bool // in this turn
	// watermarks are those of the current turn.
	watermarks []string
}

// New returns a reader.
func New(config Config) *Reader {
	if config.Rows == 0 {
		config.Rows = DefaultRows
	}
	return &Reader{config: config, mark: config.Mark, witness: config.Mark.Witness, rows: min(firstRows, config.Rows), look: firstLook}
}

// Life returns the identifier of the source's cluster and its timeline; zero values if the server does not provide them.
func Life(ctx context.Context, on postgres.DBTX) (system string, timeline int32, err error) {
	err = on.QueryRow(ctx, `
		SELECT c.system_identifier::text, ('x' || left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8))::bit(32)::integer
		FROM pg_catalog.pg_control_system() AS c`).Scan(&system, &timeline)
	switch postgres.Code(err) {
	case pgerrcode.InsufficientPrivilege, pgerrcode.UndefinedFunction, pgerrcode.FeatureNotSupported:
		return "", 0, nil
	}
	if err != nil {
		err = fmt.Errorf("read the identifier of the source's cluster: %w", err)
	}
	return system, timeline, err
}

// Emit writes a watermark into the queue. It lands after everything that was committed before the call: see package watermark.
func Emit(ctx context.Context, source *postgres.DB, schema, token string) error {
	err := source.Tx(ctx, func(tx pgx.Tx) error {
		var active int
		if err := tx.QueryRow(ctx, in(schema, "SELECT c.active FROM daymill_capture.control AS c")).Scan(&active); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, in(schema, "INSERT INTO daymill_capture.queue_"+strconv.Itoa(active)+` (xid, seq, root, op, key_changed, at, key)
			SELECT pg_catalog.pg_current_xact_id(), pg_catalog.nextval('daymill_capture.seq'), 0, 'm', false, pg_catalog.now(), pg_catalog.to_json($1::text)`), token)
		return err
	})
	if err != nil {
		return fmt.Errorf("write a watermark to the queue: %w", err)
	}
	return nil
}

const checkSQL = `
SELECT pg_catalog.pg_current_snapshot()::text,
    c.file_0 IS DISTINCT FROM pg_catalog.pg_relation_filenode('daymill_capture.queue_0') OR
    c.file_1 IS DISTINCT FROM pg_catalog.pg_relation_filenode('daymill_capture.queue_1'),
    f.is_called, w.last_value,
    pg_catalog.pg_snapshot_xmax($1::text::pg_catalog.pg_snapshot) > pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
FROM daymill_capture.control AS c CROSS JOIN daymill_capture.failures AS f CROSS JOIN daymill_capture.witness AS w`

// readSQL reads the rows that one snapshot sees and an earlier one does not. Because of the condition on xmin, it reads only the end of the index.
const readSQL = `
DECLARE daymill_capture_read NO SCROLL CURSOR FOR
SELECT q.xid::text::bigint, q.seq, q.root, q.op::text, q.key_changed, q.at, q.key::text, q.old::text, q.new::text
FROM (SELECT * FROM daymill_capture.queue_0 UNION ALL SELECT * FROM daymill_capture.queue_1) AS q
WHERE q.xid >= pg_catalog.pg_snapshot_xmin($1::pg_catalog.pg_snapshot)
    AND NOT pg_catalog.pg_visible_in_snapshot(q.xid, $1::pg_catalog.pg_snapshot)
    AND pg_catalog.pg_visible_in_snapshot(q.xid, $2::pg_catalog.pg_snapshot)
ORDER BY q.seq`

// Turn lands what the source has committed since the last turn. It returns the number of changes and watermarks.
func (r *Reader) Turn(ctx context.Context) (count int, err error) {
	tx, err := r.config.Source.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return 0, fmt.Errorf("read the queue: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // It wrote nothing.
	if r.config.Source.Pooled() {
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"search_path": "pg_catalog, pg_temp"}); err != nil {
			return 0, err
		}
	}
	var now string
	var emptied, failed, backwards bool
	var witness int64
	if err := tx.QueryRow(ctx, in(r.config.Schema, checkSQL), r.mark.Seen).Scan(&now, &emptied, &failed, &witness, &backwards); err != nil {
		return 0, fmt.Errorf("check the queue: %w", err)
	}
	if err := r.recognize(ctx, witness); err != nil {
		return 0, err
	}
	switch {
	case backwards:
		return 0, ErrRestored
	case emptied:
		return 0, ErrEmptied
	case failed:
		return 0, ErrFailed
	}
	if r.mark.Next == "" {
		if r.mark.Next, r.mark.Seq = now, 0; now == r.mark.Seen {
			r.mark.Next = ""
			return 0, nil
		}
	}
	// DECLARE cannot have parameters. Snapshots consist of digits, colons and commas.
	sql := strings.NewReplacer("$1", literal(r.mark.Seen), "$2", literal(r.mark.Next)).Replace(in(r.config.Schema, readSQL))
	if _, err := tx.Exec(ctx, postgres.Local{"statement_timeout": "0"}.SQL()+"; "+sql); err != nil {
		return 0, fmt.Errorf("read the queue: %w", err)
	}
	ordinals, read := map[int64]int{}, 0
	r.watermarks, r.witnessed = nil, false
	for {
		fetched, rows, err := r.fetch(ctx, tx, ordinals)
		if err != nil {
			return count, err
		}
		batch, landed, err := r.complete(ctx, tx, fetched)
		count += landed
		if err != nil {
			return count, err
		}
		read += rows
		done := rows == 0
		if done && read == 0 && r.mark.Seq == 0 {
			return 0, r.idle(ctx, tx, r.mark.Next)
		}
		if done {
			batch.Mark, batch.Watermarks = Mark{Seen: r.mark.Next}, r.watermarks
		}
		if len(batch.Changes) > 0 || done {
			if err := r.land(ctx, tx, batch); err != nil {
				return count, err
			}
		}
		if done {
			r.mark = batch.Mark
		}
		count += len(batch.Changes)
		if done {
			return count + len(r.watermarks), nil
		}
	}
}

// fetched is changes as the queue has them.
type fetched struct {
	Batch

	seqs []int64 // of the changes
	// unknown are the tables of changes of which the queue has only the key, by their place in the batch.
	unknown map[int]table.Table
}

// fetch reads the next batch of the cursor. It leaves out rows that have already landed, but counts them for the ordinals of their transactions.
func (r *Reader) fetch(ctx context.Context, tx pgx.Tx, ordinals map[int64]int) (batch fetched, count int, err error) {
	rows, err := tx.Query(ctx, "FETCH "+strconv.Itoa(r.rows)+" FROM daymill_capture_read", pgx.QueryExecModeExec)
	if err != nil {
		return fetched{}, 0, fmt.Errorf("read the queue: %w", err)
	}
	defer rows.Close()
	batch.unknown = map[int]table.Table{}
	for rows.Next() {
		count++
		var c change.Change
		var seq int64
		var root uint32
		var op string
		var key, before, after *string
		if err := rows.Scan(&c.XID, &seq, &root, &op, &c.KeyChanged, &c.CommittedAt, &key, &before, &after); err != nil {
			return fetched{}, 0, fmt.Errorf("read the queue: %w", err)
		}
		if op == "m" {
			if err := r.note(key); err != nil {
				return fetched{}, 0, err
			}
			continue
		}
		ordinals[c.XID]++
		if seq <= r.mark.Seq {
			continue
		}
		t, has, err := r.config.Table(ctx, root)
		if err != nil {
			return fetched{}, 0, err
		}
		if !has {
			continue // The table is no longer captured, and was dropped.
		}
		c.Op, c.Schema, c.Table, c.Ordinal = ops[op], t.Schema, t.Name, ordinals[c.XID]
		c.KeyChanged = c.KeyChanged && len(t.Parts) == 0 // See change.KeyChanged.
		c.XID &= 1<<32 - 1                               // As in the WAL, without the epoch.
		c.Key, c.Old, c.New, c.CommittedAt = document(key), document(before), document(after), c.CommittedAt.UTC()
		c.SchemaVersion = r.config.Version(t.Schema, t.Name, t.Columns)
		if after == nil && (c.Op == change.Insert || c.Op == change.Update) {
			batch.unknown[len(batch.Changes)] = t
		}
		batch.Changes, batch.seqs = append(batch.Changes, c), append(batch.seqs, seq)
		batch.Mark, batch.CommittedAt = Mark{Seen: r.mark.Seen, Next: r.mark.Next, Seq: seq}, c.CommittedAt
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return fetched{}, 0, fmt.Errorf("read the queue: %w", err)
	}
	if len(batch.Changes) > 0 {
		r.mark.Seq = batch.Mark.Seq
	}
	return batch, count, nil
}

// note notes a watermark for the end of the turn. Earlier versions wrote marks without a text.
func (r *Reader) note(key *string) error {
	if key == nil {
		return nil
	}
	var token string
	if err := json.Unmarshal([]byte(*key), &token); err != nil {
		return fmt.Errorf("read a watermark: %w", err)
	}
	r.watermarks = append(r.watermarks, token)
	return nil
}

// adapt returns how many rows to read next, after some whose size was this.
func adapt(rows, most, size int) int {
	switch {
	case size > maxBytes:
		return max(1, rows/4)
	case size < maxBytes/4:
		return min(most, rows*2)
	default:
		return rows
	}
}

func sizeOf(changes []change.Change) (size int) {
	for _, c := range changes {
		size += len(c.Key) + len(c.Old) + len(c.New)
	}
	return size
}

// complete looks up the rows of which the queue has only the key, some at a time, and lands them as soon as they have maxBytes. It returns what
// is left to land, and how many changes have landed.
func (r *Reader) complete(ctx context.Context, tx pgx.Tx, all fetched) (rest Batch, landed int, err error) {
	if len(all.unknown) == 0 {
		r.rows = adapt(r.rows, r.config.Rows, sizeOf(all.Changes))
		return all.Batch, 0, nil
	}
	size, total := 0, 0
	for from := 0; from < len(all.Changes); {
		upTo := min(from+r.look, len(all.Changes))
		part := all.Changes[from:upTo]
		unknown := map[uint32][]int{} // by table
		tables := map[uint32]table.Table{}
		for i := range part {
			if t, is := all.unknown[from+i]; is {
				unknown[t.OID], tables[t.OID] = append(unknown[t.OID], i), t
			}
		}
		for root, places := range unknown {
			if err := r.lookUp(ctx, tx, tables[root], part, places); err != nil {
				return Batch{}, landed, err
			}
		}
		for i, c := range part {
			if !c.LookedUp || c.New != nil {
				rest.Changes = append(rest.Changes, c)
			}
			part[i] = change.Change{} // For the garbage collector.
			rest.CommittedAt = c.CommittedAt
		}
		rest.Mark = Mark{Seen: all.Mark.Seen, Next: all.Mark.Next, Seq: all.seqs[upTo-1]}
		now := sizeOf(rest.Changes)
		r.look = adapt(r.look, lookAtOnce, now-size)
		size, total, from = now, total+now-size, upTo
		if size >= maxBytes {
			if err := r.land(ctx, tx, rest); err != nil {
				return Batch{}, landed, err
			}
			landed += len(rest.Changes)
			rest, size = Batch{}, 0
		}
	}
	r.rows = adapt(r.rows, r.config.Rows, total)
	return rest, landed, nil
}

// lookUp sets New of changes of which the queue has only the key. A row that is no longer there has been deleted, or its key has changed:
// that change follows, so New stays nil.
func (r *Reader) lookUp(ctx context.Context, tx pgx.Tx, t table.Table, changes []change.Change, places []int) error {
	var keys []json.RawMessage
	seen := map[string]bool{}
	for _, at := range places {
		if key := string(changes[at].Key); !seen[key] {
			seen[key], keys = true, append(keys, changes[at].Key)
		}
	}
	found, err := r.config.Lookup(ctx, tx, t, keys)
	if err != nil {
		return fmt.Errorf("look up rows of %s: %w", t, err)
	}
	for _, at := range places {
		changes[at].New, changes[at].LookedUp = found[string(changes[at].Key)], true
	}
	return nil
}

//nolint:gochecknoglobals // A constant.
var ops = map[string]change.Op{"i": change.Insert, "u": change.Update, "d": change.Delete, "t": change.Truncate}

func document(text *string) json.RawMessage {
	if text == nil {
		return nil
	}
	return json.RawMessage(*text)
}

// Rotate empties the resting queue, if everything in it has landed and nobody is writing to it, and puts the other one to rest if it is
// large. The application waits for neither.
func (r *Reader) Rotate(ctx context.Context) error {
	err := r.rotate(ctx)
	if postgres.IsLockTimeout(err) {
		return nil // Somebody is writing to it; the next call tries again.
	}
	if err != nil {
		return fmt.Errorf("rotate the queue: %w", err)
	}
	return nil
}

func (r *Reader) rotate(ctx context.Context) error {
	var resting bool
	err := r.config.Source.QueryRow(ctx, in(r.config.Schema, `
		SELECT pg_catalog.pg_relation_size(CASE c.active WHEN 0 THEN 'daymill_capture.queue_1' ELSE 'daymill_capture.queue_0' END::regclass) > 0
		FROM daymill_capture.control AS c`)).Scan(&resting)
	if err != nil {
		return err
	}
	if resting {
		// A log that goes back to before this mark is noticed by the witness: it may not have what is emptied.
		r.witnessed = false
		if err := r.land(ctx, nil, Batch{Mark: r.mark}); err != nil {
			return err
		}
	}
	return r.config.Source.Tx(ctx, func(tx pgx.Tx) error {
		var active int
		var resting, working int64
		err := tx.QueryRow(ctx, in(r.config.Schema, `
			SELECT c.active, pg_catalog.pg_relation_size(CASE c.active WHEN 0 THEN 'daymill_capture.queue_1' ELSE 'daymill_capture.queue_0' END::regclass),
				pg_catalog.pg_relation_size(CASE c.active WHEN 0 THEN 'daymill_capture.queue_0' ELSE 'daymill_capture.queue_1' END::regclass)
			FROM daymill_capture.control AS c FOR UPDATE`)).Scan(&active, &resting, &working)
		if err != nil {
			return err
		}
		other := strconv.Itoa(1 - active)
		if resting > 0 {
			emptied, err := r.empty(ctx, tx, other)
			if err != nil || !emptied {
				return err
			}
		}
		if working < rotateAt {
			return nil
		}
		_, err = tx.Exec(ctx, in(r.config.Schema, "UPDATE daymill_capture.control SET active = "+other+", rotated_at = pg_catalog.now()"))
		return err
	})
}

// empty truncates a queue. A transaction that writes to the queue holds a lock until its end, so once this one has the lock, it
// sees every row.
func (r *Reader) empty(ctx context.Context, tx pgx.Tx, queue string) (bool, error) {
	name := r.config.Schema + ".queue_" + queue
	if _, err := tx.Exec(ctx, "LOCK TABLE "+name+" IN ACCESS EXCLUSIVE MODE NOWAIT"); err != nil {
		return false, err
	}
	var unread bool
	err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM `+name+` AS q WHERE q.xid >= pg_catalog.pg_snapshot_xmin($1::text::pg_catalog.pg_snapshot)
			AND NOT pg_catalog.pg_visible_in_snapshot(q.xid, $1::text::pg_catalog.pg_snapshot))`, r.mark.Seen).Scan(&unread)
	if err != nil || unread {
		return false, err
	}
	_, err = tx.Exec(ctx, "TRUNCATE "+name+"; UPDATE "+r.config.Schema+".control SET file_"+queue+" = pg_catalog.pg_relation_filenode('"+name+"')")
	return err == nil, err
}
