package event

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/entity"
)

// Target is the table that events are copied into: the one that analytics.events reads.
type Target struct {
	Table                                pgx.Identifier
	EntityColumn, TypeColumn, TimeColumn string
	// TimeZone is the zone of a time column without time zone. It is not used for a timestamptz.
	TimeZone *time.Location
}

func (t Target) columns() []string { return []string{t.EntityColumn, t.TypeColumn, t.TimeColumn} }

// columns describes the types of a target's columns.
type columns struct {
	entityType entity.Type // the type of analytics.entity_id
	columnType entity.Type // the type of the table's column
	entity     whole       // used if columnType is Bigint
	kind       whole
	zone       *zone // of a time column without time zone; otherwise nil
}

// whole is the range of a column of integers. The zero value means that the column has another type.
type whole struct {
	low, high int64
}

func wholeOf(oid uint32) whole {
	switch oid {
	case pgtype.Int2OID:
		return whole{math.MinInt16, math.MaxInt16}
	case pgtype.Int4OID:
		return whole{math.MinInt32, math.MaxInt32}
	case pgtype.Int8OID:
		return whole{math.MinInt64, math.MaxInt64}
	default:
		return whole{}
	}
}

func (w whole) holds(n int64) bool { return n >= w.low && n <= w.high }

// describe reads the types of the columns. For a domain, it returns the type under it.
func (t Target) describe(ctx context.Context, tx pgx.Tx, entityType entity.Type) (columns, error) {
	found := columns{entityType: entityType}
	quoted := make([]string, 0, len(t.columns()))
	for _, name := range t.columns() {
		quoted = append(quoted, pgx.Identifier{name}.Sanitize())
	}
	rows, err := tx.Query(ctx, "SELECT "+strings.Join(quoted, ", ")+" FROM "+t.Table.Sanitize()+" LIMIT 0")
	if err != nil {
		return found, t.explain(err)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return found, t.explain(err)
	}
	fields := rows.FieldDescriptions()
	found.entity, found.kind = wholeOf(fields[0].DataTypeOID), wholeOf(fields[1].DataTypeOID)
	switch {
	case fields[0].DataTypeOID == pgtype.UUIDOID:
		found.columnType = entity.UUID
	case found.entity != whole{}:
		found.columnType = entity.Bigint
	case isText(tx, fields[0].DataTypeOID):
		found.columnType = entity.Text
	default:
		return found, t.refuse(tx, t.EntityColumn, fields[0].DataTypeOID, "a uuid, an integer or a text")
	}
	if found.kind == (whole{}) && !isText(tx, fields[1].DataTypeOID) {
		return found, t.refuse(tx, t.TypeColumn, fields[1].DataTypeOID, "a text, an enum or an integer")
	}
	switch fields[2].DataTypeOID {
	case pgtype.TimestamptzOID:
	case pgtype.TimestampOID:
		if t.TimeZone == nil {
			return found, fmt.Errorf("%s.%s is a timestamp without time zone, and its zone is not recorded: "+
				"run `daymill source set` with --time-zone", t.Table.Sanitize(), pgx.Identifier{t.TimeColumn}.Sanitize())
		}
		found.zone = newZone(t.TimeZone)
	default:
		return found, t.refuse(tx, t.TimeColumn, fields[2].DataTypeOID, "a timestamp")
	}
	return found, nil
}

// isText reports whether the column's values are sent as text. This includes enums, whose type pgx does not know, and citext.
func isText(tx pgx.Tx, oid uint32) bool {
	switch oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID:
		return true
	default:
		_, known := tx.Conn().TypeMap().TypeForOID(oid)
		return !known
	}
}

func (t Target) refuse(tx pgx.Tx, column string, oid uint32, expected string) error {
	name := "an unknown type"
	if known, has := tx.Conn().TypeMap().TypeForOID(oid); has {
		name = known.Name
	}
	return fmt.Errorf("%s.%s is of type %s: import writes only to %s",
		t.Table.Sanitize(), pgx.Identifier{column}.Sanitize(), name, expected)
}

// fit converts an event to the types of the columns, or returns why a column cannot store it.
func (c columns) fit(e *Event) error {
	if c.columnType != c.entityType {
		id, err := c.columnType.Parse(c.entityType.Format(e.Entity))
		if err != nil {
			return err
		}
		e.Entity = id
	}
	if c.columnType == entity.Bigint {
		if n := number(e.Entity); !c.entity.holds(n) {
			return fmt.Errorf("the entity id %d does not fit the column, which holds %d to %d", n, c.entity.low, c.entity.high)
		}
	}
	if c.kind != (whole{}) {
		if n, err := strconv.ParseInt(e.Type, 10, 64); err != nil || !c.kind.holds(n) {
			return fmt.Errorf("the event type %q is not a whole number within the column's range", clip(e.Type))
		}
	}
	if c.zone != nil {
		// When the clocks go back, two instants have the same local time, and the view uses the later one.
		seconds := floorSecond(e.At)
		e.At += (c.zone.instant(c.zone.reading(seconds)) - seconds) * microsPerSecond
	}
	return nil
}

const microsPerSecond = 1_000_000

func floorSecond(micros int64) int64 {
	seconds := micros / microsPerSecond
	if micros%microsPerSecond < 0 {
		seconds--
	}
	return seconds
}

// number returns the bigint of an id, whose bytes package entity documents.
func number(id entity.ID) int64 {
	const signBit = 1 << 63
	return int64(binary.BigEndian.Uint64([]byte(id)) ^ signBit) //nolint:gosec // Only the bits matter.
}

// copySource passes a chunk's events to COPY.
type copySource struct {
	events  []Event
	columns columns // shared with the feed; only the feed may call zone.instant
	at      int
	values  []any
}

func newCopySource(events []Event, columns columns) *copySource {
	return &copySource{events: events, columns: columns, at: -1, values: make([]any, 3)}
}

// Next moves to the next event.
func (s *copySource) Next() bool {
	s.at++
	return s.at < len(s.events)
}

// Values returns the entity, type and instant in the types of the columns.
func (s *copySource) Values() ([]any, error) {
	e := &s.events[s.at]
	switch s.columns.columnType {
	case entity.UUID:
		s.values[0] = pgtype.UUID{Bytes: [16]byte([]byte(e.Entity)), Valid: true}
	case entity.Bigint:
		s.values[0] = number(e.Entity)
	default:
		s.values[0] = string(e.Entity)
	}
	s.values[1] = e.Type
	if s.columns.kind != (whole{}) {
		n, err := strconv.ParseInt(e.Type, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("event type: %w", err) // fit has already refused such an event.
		}
		s.values[1] = n
	}
	at := e.At
	if s.columns.zone != nil {
		seconds := floorSecond(at)
		at += (s.columns.zone.reading(seconds) - seconds) * microsPerSecond
	}
	s.values[2] = time.UnixMicro(at).UTC()
	return s.values, nil
}

// Err returns nil, because the events are in memory.
func (*copySource) Err() error { return nil }
