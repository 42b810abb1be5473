// Package entity has the ids of what metrics are about, in one of the three types that analytics.entity_id can have.
//
// An [ID] is kept as bytes in the order in which Postgres sorts the values. So ids of every type can be compared, sorted and
// used as map keys, and a batch's bounds mean the same in Go as in SQL.
package entity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/text"
)

// Type is the type of analytics.entity_id in a database, chosen once at installation.
type Type string

// Types of an entity's id.
const (
	UUID   Type = "uuid"
	Bigint Type = "bigint"
	Text   Type = "text"
)

// ErrType is returned for a name that is not one of the three types.
var ErrType = errors.New("entity type must be uuid, bigint or text")

// ParseType parses the name of a type.
func ParseType(name string) (Type, error) {
	switch t := Type(name); t {
	case UUID, Bigint, Text:
		return t, nil
	default:
		return "", fmt.Errorf("%w, not %q", ErrType, name)
	}
}

// ID is an entity's id as order-preserving bytes: a uuid's 16 bytes, a bigint's 8 bytes big-endian with the sign bit flipped,
// or a text's UTF-8. Only its [Type] can format it.
type ID string //nolint:recvcheck // pgx scans by pointer and encodes by value.

const signBit = 1 << 63

// ScanInt64 reads a bigint.
func (id *ID) ScanInt64(v pgtype.Int8) error {
	if !v.Valid {
		return errNull
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(v.Int64)^signBit) //nolint:gosec // Only the bits matter.
	*id = ID(b[:])
	return nil
}

// ScanUUID reads a uuid.
func (id *ID) ScanUUID(v pgtype.UUID) error {
	if !v.Valid {
		return errNull
	}
	*id = ID(v.Bytes[:])
	return nil
}

// ScanText reads a text.
func (id *ID) ScanText(v pgtype.Text) error {
	if !v.Valid {
		return errNull
	}
	*id = ID(v.String)
	return nil
}

// Int64Value writes a bigint.
func (id ID) Int64Value() (pgtype.Int8, error) {
	if len(id) != 8 {
		return pgtype.Int8{}, errWidth
	}
	n := binary.BigEndian.Uint64([]byte(id)) ^ signBit
	return pgtype.Int8{Int64: int64(n), Valid: true}, nil //nolint:gosec // Only the bits matter.
}

// UUIDValue writes a uuid.
func (id ID) UUIDValue() (pgtype.UUID, error) {
	if len(id) != 16 {
		return pgtype.UUID{}, errWidth
	}
	return pgtype.UUID{Bytes: [16]byte([]byte(id)), Valid: true}, nil
}

// TextValue writes a text.
func (id ID) TextValue() (pgtype.Text, error) {
	return pgtype.Text{String: string(id), Valid: true}, nil
}

// AppendBinary decodes an id from Postgres's binary format and appends it to ids.
func (t Type) AppendBinary(ids, sent []byte) ([]byte, error) {
	switch {
	case t == UUID && len(sent) == 16, t == Text:
		return append(ids, sent...), nil
	case t == Bigint && len(sent) == 8:
		ids = append(ids, sent...)
		ids[len(ids)-8] ^= signBit >> 56
		return ids, nil
	default:
		return ids, errWidth
	}
}

var (
	errNull  = errors.New("an entity's id is null")
	errWidth = errors.New("an entity's id does not have the type that this installation uses")
)

// Parse parses an id as people and SQL write it. The error says what the type expects.
func (t Type) Parse(text string) (ID, error) {
	switch t {
	case UUID:
		u, err := uuid.Parse(text)
		if err != nil {
			return "", fmt.Errorf("entity id %q is not a uuid", clip(text))
		}
		return ID(u[:]), nil
	case Bigint:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return "", fmt.Errorf("entity id %q is not a whole number of 64 bits", clip(text))
		}
		var id ID
		err = id.ScanInt64(pgtype.Int8{Int64: n, Valid: true})
		return id, err
	case Text:
		if !utf8.ValidString(text) {
			return "", fmt.Errorf("entity id %q is not UTF-8", clip(text))
		}
		return ID(text), nil
	default:
		return "", ErrType
	}
}

// Format formats an id as SQL reads it.
func (t Type) Format(id ID) string {
	switch {
	case t == UUID && len(id) == 16:
		return uuid.UUID([]byte(id)).String()
	case t == Bigint && len(id) == 8:
		return strconv.FormatInt(int64(binary.BigEndian.Uint64([]byte(id))^signBit), 10) //nolint:gosec // As above.
	default:
		return string(id)
	}
}

// FormatPointer is Format for an optional bound.
func (t Type) FormatPointer(id *ID) *string {
	if id == nil {
		return nil
	}
	text := t.Format(*id)
	return &text
}

// clip shortens an id, so that a hostile one cannot fill a log line.
func clip(id string) string { return text.Clip(id, 60) }
