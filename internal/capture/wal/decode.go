package wal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/value"
)

// relation is a table as the stream last described it.
type relation struct {
	schema, name string
	full         bool
	partitioned  bool
	version      int
	columns      []column
	key          []int // indexes in columns
	oid          uint32
}

type column struct {
	name  string
	json  []byte // the name as JSON, with the colon
	write value.Writer
}

// Kinds of values in a tuple.
const (
	isNull      = 'n'
	isUnchanged = 'u'
)

// decoder makes changes of pgoutput's messages.
type decoder struct {
	config    *Config
	relations map[uint32]*relation
	// later are descriptions of tables that came while transactions were skipped. They are decoded before the table's next change.
	later map[uint32]*pglogrepl.RelationMessage

	// The transaction that is being read.
	open        bool
	skip        bool // it has landed
	marked      bool // it has a watermark
	xid         int64
	finalLSN    pglogrepl.LSN
	lsn         string
	committedAt time.Time
	ordinal     int

	found bool // Config.Last came again, or must not come again

	batch Batch
	arena []byte // of the batch's rows
}

// decode decodes one message. It keeps no reference to data, which the next message overwrites.
func (d *decoder) decode(ctx context.Context, data []byte) error {
	message, err := pglogrepl.Parse(data)
	if err != nil {
		return fmt.Errorf("decode a message of the stream: %w", err)
	}
	switch m := message.(type) {
	case *pglogrepl.BeginMessage:
		return d.begin(m)
	case *pglogrepl.CommitMessage:
		d.open = false
		if d.skip {
			return nil
		}
		d.batch.End, d.batch.CommittedAt = m.TransactionEndLSN, d.committedAt
		if d.marked { // The source must not lose a watermark without a gap, although its transaction has no changes.
			d.batch.Last = Last{Commit: d.finalLSN, XID: d.xid, CommittedAt: d.committedAt}
		}
		return nil
	case *pglogrepl.RelationMessage:
		if d.skip {
			d.later[m.RelationID] = m
			return nil
		}
		delete(d.later, m.RelationID)
		return d.relation(ctx, m)
	}
	if d.skip {
		return nil
	}
	switch m := message.(type) {
	case *pglogrepl.LogicalDecodingMessage:
		if m.Transactional && m.Prefix == prefix && d.config.Watermark(string(m.Content)) {
			d.batch.Watermarks, d.marked = append(d.batch.Watermarks, string(m.Content)), true
		}
	case *pglogrepl.InsertMessage:
		return d.row(ctx, m.RelationID, change.Insert, nil, m.Tuple)
	case *pglogrepl.UpdateMessage:
		return d.row(ctx, m.RelationID, change.Update, m.OldTuple, m.NewTuple)
	case *pglogrepl.DeleteMessage:
		return d.row(ctx, m.RelationID, change.Delete, m.OldTuple, nil)
	case *pglogrepl.TruncateMessage:
		for _, id := range m.RelationIDs {
			r, err := d.known(ctx, id)
			if err != nil {
				return err
			}
			d.add(r, change.Change{Op: change.Truncate})
		}
	}
	return nil // Messages about types and origins are not needed.
}

// begin begins a transaction. It returns ErrRestored if Config.Last should have come before it.
func (d *decoder) begin(m *pglogrepl.BeginMessage) error {
	d.open, d.ordinal, d.skip, d.marked = true, 0, false, false
	d.xid, d.finalLSN, d.lsn, d.committedAt = int64(m.Xid), m.FinalLSN, m.FinalLSN.String(), m.CommitTime.UTC()
	last := d.config.Last
	switch {
	case d.found:
	case d.finalLSN < last.Commit:
		d.skip = true
	case last.is(m):
		d.found, d.skip = true, last.Ordinal == 0
	default:
		return ErrRestored
	}
	return nil
}

func (d *decoder) known(ctx context.Context, id uint32) (*relation, error) {
	if m, has := d.later[id]; has {
		delete(d.later, id)
		if err := d.relation(ctx, m); err != nil {
			return nil, err
		}
	}
	r, has := d.relations[id]
	if !has {
		return nil, fmt.Errorf("the stream has a change of table %d, which it has not described", id)
	}
	return r, nil
}

// relation stores the description of a table for the messages that follow.
func (d *decoder) relation(ctx context.Context, m *pglogrepl.RelationMessage) error { //nolint:varnamelen // As in decode.
	d.config.Types.Forget() // A type may have been altered as well.
	r := &relation{oid: m.RelationID, schema: m.Namespace, name: m.RelationName, full: m.ReplicaIdentity == 'f'}
	places := map[string]int{}
	for i, c := range m.Columns {
		write, err := d.config.Types.Writer(ctx, c.DataType)
		if err != nil {
			return err
		}
		r.columns = append(r.columns, column{name: c.Name, json: append(value.AppendString(nil, []byte(c.Name)), ": "...), write: write})
		places[c.Name] = i
	}
	described, has, err := d.config.Table(ctx, m.RelationID, m.Namespace, m.RelationName)
	if err != nil {
		return err
	}
	r.partitioned = len(described.Parts) > 0
	if has { // This is its current state, which may be newer than the message: use its key only if the message has all of its columns.
		for _, name := range described.Key {
			if at, is := places[name]; is && m.Columns[at].Flags&1 == 1 {
				r.key = append(r.key, at)
			}
		}
	}
	if !has || len(r.key) != len(described.Key) {
		r.key = nil
		for i, c := range m.Columns {
			if c.Flags&1 == 1 {
				r.key = append(r.key, i)
			}
		}
	}
	columns := make([]table.Column, len(m.Columns))
	for i, c := range m.Columns {
		at := slices.IndexFunc(described.Columns, func(d table.Column) bool { return d.Name == c.Name })
		if at >= 0 {
			columns[i] = described.Columns[at]
			continue
		}
		kind, err := d.config.Types.Name(ctx, c.DataType, c.TypeModifier)
		if err != nil {
			return err
		}
		columns[i] = table.Column{Name: c.Name, Type: kind}
	}
	r.version = d.config.Version(r.schema, r.name, columns)
	d.relations[m.RelationID] = r
	return nil
}

// row adds the changes of a row's message. An update of the key becomes a delete and an insert.
func (d *decoder) row(ctx context.Context, id uint32, kind change.Op, before, after *pglogrepl.TupleData) error {
	r, err := d.known(ctx, id)
	if err != nil {
		return err
	}
	var oldKey, newKey, oldRow, newRow json.RawMessage
	var unchanged []string
	if before != nil {
		if oldKey, err = d.key(r, before, nil); err != nil {
			return err
		}
		if r.full {
			if oldRow, _, err = d.object(r, before, nil); err != nil {
				return err
			}
		}
	}
	if after != nil {
		if newKey, err = d.key(r, after, before); err != nil {
			return err
		}
		var from *pglogrepl.TupleData
		if r.full {
			from = before
		}
		if newRow, unchanged, err = d.object(r, after, from); err != nil {
			return err
		}
	}
	switch {
	case kind == change.Delete:
		d.add(r, change.Change{Op: kind, Key: oldKey, Old: oldRow})
	case kind == change.Update && before != nil && !bytes.Equal(oldKey, newKey):
		if newRow, unchanged, err = d.fill(ctx, r, after, before, newRow, unchanged); err != nil {
			return err
		}
		d.add(r, change.Change{Op: change.Delete, Key: oldKey, Old: oldRow, KeyChanged: !r.partitioned})
		d.add(r, change.Change{Op: change.Insert, Key: newKey, New: newRow, Unchanged: unchanged, KeyChanged: !r.partitioned})
	default:
		d.add(r, change.Change{Op: kind, Key: newKey, Old: oldRow, New: newRow, Unchanged: unchanged})
	}
	return nil
}

// fill looks up the values that an update of the key did not touch, because the receiver of the insert does not have them. If the row has
// changed since, that change follows. If the row no longer exists, the values stay missing.
func (d *decoder) fill(
	ctx context.Context, r *relation, after, before *pglogrepl.TupleData, row json.RawMessage, unchanged []string,
) (json.RawMessage, []string, error) {
	if len(unchanged) == 0 || d.config.Fill == nil {
		return row, unchanged, nil
	}
	key := map[string]string{}
	for _, at := range r.key {
		from := after.Columns[at]
		if from.DataType == isUnchanged {
			from = before.Columns[at]
		}
		if from.DataType == isNull || from.DataType == isUnchanged {
			return row, unchanged, nil
		}
		key[r.columns[at].name] = string(from.Data)
	}
	values, err := d.config.Fill(ctx, r.oid, key)
	if err != nil {
		return nil, nil, err
	}
	var missing []string
	filled := slices.Clone(row[:len(row)-1])
	for _, name := range unchanged {
		found, has := values[name]
		if !has {
			missing = append(missing, name)
			continue
		}
		if len(filled) > 1 {
			filled = append(filled, ", "...)
		}
		filled = append(value.AppendString(filled, []byte(name)), ": "...)
		filled = append(filled, found...)
	}
	return append(filled, '}'), missing, nil
}

func (d *decoder) add(r *relation, c change.Change) {
	d.ordinal++
	if d.finalLSN == d.config.Last.Commit && d.ordinal <= d.config.Last.Ordinal {
		return // It already landed, before the process ended in the middle of the transaction.
	}
	c.Schema, c.Table, c.SchemaVersion = r.schema, r.name, r.version
	c.XID, c.LSN, c.Ordinal, c.CommittedAt = d.xid, d.lsn, d.ordinal, d.committedAt
	d.batch.Changes = append(d.batch.Changes, c)
	d.batch.Last = Last{Commit: d.finalLSN, Ordinal: d.ordinal, XID: d.xid, CommittedAt: d.committedAt}
}

// key returns the key of a tuple. It takes values that the tuple does not have, because they were not touched, from other.
func (d *decoder) key(r *relation, tuple, other *pglogrepl.TupleData) (json.RawMessage, error) {
	if len(r.key) == 0 {
		return nil, nil
	}
	start := len(d.arena)
	d.arena = append(d.arena, '{')
	for i, at := range r.key {
		if i > 0 {
			d.arena = append(d.arena, ", "...)
		}
		from := tuple.Columns[at]
		if from.DataType == isUnchanged && other != nil {
			from = other.Columns[at]
		}
		if err := d.value(r.columns[at], from); err != nil {
			return nil, err
		}
	}
	d.arena = append(d.arena, '}')
	return d.arena[start:len(d.arena):len(d.arena)], nil
}

// object returns a row as JSON. unchanged has the names of the columns that were not touched and that other does not have either.
func (d *decoder) object(r *relation, tuple, other *pglogrepl.TupleData) (row json.RawMessage, unchanged []string, err error) {
	start := len(d.arena)
	d.arena = append(d.arena, '{')
	first := true
	for i, from := range tuple.Columns {
		if from.DataType == isUnchanged && other != nil {
			from = other.Columns[i]
		}
		if from.DataType == isUnchanged {
			unchanged = append(unchanged, r.columns[i].name)
			continue
		}
		if !first {
			d.arena = append(d.arena, ", "...)
		}
		first = false
		if err := d.value(r.columns[i], from); err != nil {
			return nil, nil, fmt.Errorf("column %s of %s.%s: %w", r.columns[i].name, r.schema, r.name, err)
		}
	}
	d.arena = append(d.arena, '}')
	return d.arena[start:len(d.arena):len(d.arena)], unchanged, nil
}

func (d *decoder) value(c column, from *pglogrepl.TupleDataColumn) (err error) {
	d.arena = append(d.arena, c.json...)
	if from.DataType == isNull {
		d.arena = append(d.arena, "null"...)
		return nil
	}
	d.arena, err = c.write(d.arena, from.Data)
	return err
}

// due reports whether there are changes or watermarks to land.
func (d *decoder) due() bool { return len(d.batch.Changes) > 0 || len(d.batch.Watermarks) > 0 }

// take returns the batch and begins another.
func (d *decoder) take() Batch {
	batch := d.batch
	if !d.open {
		batch.Last.Ordinal = 0
	}
	d.batch = Batch{}
	d.arena = make([]byte, 0, cap(d.arena))
	return batch
}
