// Package value converts values from text, as logical replication sends them, to the same JSON as to_jsonb.
package value

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// Writer appends a value as JSON to b. text is the value's text.
type Writer func(b, text []byte) ([]byte, error)

// Types knows the types of a database. It is not safe for concurrent use.
type Types struct {
	on        postgres.DBTX
	writers   map[uint32]Writer
	relations map[uint32][]attribute
}

// New returns Types that looks up a type in a database when it first sees it.
func New(on postgres.DBTX) *Types {
	return &Types{on: on, writers: map[uint32]Writer{}, relations: map[uint32][]attribute{}}
}

// Forget makes Types look up all types again, because they may have been altered.
func (t *Types) Forget() {
	clear(t.writers)
	clear(t.relations)
}

// OIDs of built-in types that are not strings in JSON.
const (
	oidBool        = 16
	oidInt8        = 20
	oidInt2        = 21
	oidInt2Vector  = 22
	oidInt4        = 23
	oidOIDVector   = 30
	oidJSON        = 114
	oidFloat4      = 700
	oidFloat8      = 701
	oidDate        = 1082
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidNumeric     = 1700
	oidJSONB       = 3802
)

// typeSQL uses a cast to json only if a superuser or we own the type: the cast's function runs with our rights, and the owner of a type
// can create any cast.
const typeSQL = `
SELECT t.typtype::text, t.typbasetype, t.typrelid,
    CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE 0 END,
    coalesce((SELECT e.typdelim::text FROM pg_catalog.pg_type AS e WHERE e.oid = t.typelem), ','),
    pg_catalog.format('%I.%I', n.nspname, t.typname),
    t.oid >= 16384 AND (r.rolsuper OR r.rolname = current_user)
        AND EXISTS (SELECT FROM pg_catalog.pg_cast AS c WHERE c.castsource = t.oid AND c.casttarget = 114 AND c.castfunc <> 0)
FROM pg_catalog.pg_type AS t INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
INNER JOIN pg_catalog.pg_roles AS r ON r.oid = t.typowner
WHERE t.oid = $1`

const attributesSQL = `
SELECT a.attname, a.atttypid, CASE WHEN t.typtype = 'c' THEN pg_catalog.format_type(t.oid, NULL) ELSE '' END
FROM pg_catalog.pg_attribute AS a INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

// Writer returns the writer for a type. Values of a type that was dropped are written as text.
func (t *Types) Writer(ctx context.Context, oid uint32) (Writer, error) {
	switch oid {
	case oidBool:
		return boolean, nil
	case oidInt2, oidInt4, oidInt8:
		return raw, nil
	case oidNumeric, oidFloat4, oidFloat8:
		return numeric, nil
	case oidJSON, oidJSONB:
		return raw, nil
	case oidInt2Vector:
		return vector(raw), nil
	case oidOIDVector:
		return vector(quoted), nil
	case oidDate:
		return quoted, nil
	case oidTimestamp, oidTimestamptz:
		return instant, nil
	}
	if w, has := t.writers[oid]; has {
		return w, nil
	}
	w, err := t.look(ctx, oid)
	if err != nil {
		return nil, fmt.Errorf("look up type %d: %w", oid, err)
	}
	t.writers[oid] = w
	return w, nil
}

// Name returns a column's type as format_type writes it; text if the type was dropped.
func (t *Types) Name(ctx context.Context, oid uint32, modifier int32) (name string, err error) {
	err = t.on.QueryRow(ctx, `
		SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_type AS t WHERE t.oid = $1) THEN pg_catalog.format_type($1, $2) ELSE 'text' END`,
		oid, modifier).Scan(&name)
	if err != nil {
		err = fmt.Errorf("look up type %d: %w", oid, err)
	}
	return name, err
}

func (t *Types) look(ctx context.Context, oid uint32) (Writer, error) {
	var kind, delimiter, name string
	var base, relation, element uint32
	var cast bool
	rows, err := t.on.Query(ctx, typeSQL, oid)
	if err != nil {
		return nil, err
	}
	found := false
	if rows.Next() {
		found, err = true, rows.Scan(&kind, &base, &relation, &element, &delimiter, &name, &cast)
	}
	rows.Close()
	if err == nil {
		err = rows.Err()
	}
	switch {
	case err != nil:
		return nil, err
	case !found:
		return quoted, nil
	case kind == "d":
		return t.Writer(ctx, base)
	case kind == "c":
		return t.composite(ctx, relation)
	case element != 0:
		inner, err := t.Writer(ctx, element)
		return array(inner, delimiter[0]), err
	case cast:
		return t.server(ctx, name), nil
	}
	return quoted, nil
}

// server returns a writer that asks Postgres to write values of a type with a cast to json, such as hstore.
func (t *Types) server(ctx context.Context, name string) Writer {
	return func(b, text []byte) ([]byte, error) {
		var document string
		if err := t.on.QueryRow(ctx, "SELECT pg_catalog.to_jsonb(CAST($1::text AS "+name+"))::text", string(text)).Scan(&document); err != nil {
			return b, fmt.Errorf("write a value of type %s: %w", name, err)
		}
		return append(b, document...), nil
	}
}

type attribute struct {
	Name      string
	Type      uint32
	Composite string // name of the type; empty if it is not composite
}

func (t *Types) attributes(ctx context.Context, relation uint32) ([]attribute, error) {
	if known, has := t.relations[relation]; has {
		return known, nil
	}
	rows, err := t.on.Query(ctx, attributesSQL, relation)
	if err != nil {
		return nil, err
	}
	attributes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[attribute])
	if err == nil {
		t.relations[relation] = attributes
	}
	return attributes, err
}

func (t *Types) composite(ctx context.Context, relation uint32) (Writer, error) {
	attributes, err := t.attributes(ctx, relation)
	if err != nil {
		return nil, err
	}
	return t.object(ctx, attributes)
}

func (t *Types) object(ctx context.Context, attributes []attribute) (_ Writer, err error) {
	names, writers := make([][]byte, len(attributes)), make([]Writer, len(attributes))
	for i, a := range attributes {
		names[i] = AppendString(nil, []byte(a.Name))
		if writers[i], err = t.Writer(ctx, a.Type); err != nil {
			return nil, err
		}
	}
	return composite(names, writers), nil
}

func raw(b, text []byte) ([]byte, error) { return append(b, text...), nil }

func quoted(b, text []byte) ([]byte, error) { return AppendString(b, text), nil }

func boolean(b, text []byte) ([]byte, error) {
	if bytes.Equal(text, []byte("t")) {
		return append(b, "true"...), nil
	}
	return append(b, "false"...), nil
}

// numeric writes a number without an exponent, as jsonb does, and NaN and Infinity as strings.
func numeric(b, text []byte) ([]byte, error) {
	if c := text[len(text)-1]; c < '0' || c > '9' {
		return AppendString(b, text), nil
	}
	mantissa, exponent, has := bytes.Cut(text, []byte("e"))
	if !has {
		return append(b, text...), nil
	}
	return appendExpanded(b, string(mantissa), string(exponent))
}

func appendExpanded(b []byte, mantissa, exponent string) ([]byte, error) {
	var shift int
	if _, err := fmt.Sscanf(exponent, "%d", &shift); err != nil {
		return b, fmt.Errorf("read the number %se%s: %w", mantissa, exponent, err)
	}
	if strings.HasPrefix(mantissa, "-") {
		b, mantissa = append(b, '-'), mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	point := len(whole) + shift
	switch {
	case point <= 0:
		b = append(b, "0."...)
		b = append(b, strings.Repeat("0", -point)...)
		return append(b, digits...), nil
	case point >= len(digits):
		b = append(b, digits...)
		return append(b, strings.Repeat("0", point-len(digits))...), nil
	default:
		b = append(b, digits[:point]...)
		b = append(b, '.')
		return append(b, digits[point:]...), nil
	}
}

// instant writes a timestamp: 2026-03-01 10:00:00+00 as 2026-03-01T10:00:00+00:00.
func instant(b, text []byte) ([]byte, error) {
	s := string(text)
	if strings.HasSuffix(s, "infinity") {
		return AppendString(b, text), nil
	}
	s, bc := strings.CutSuffix(s, " BC")
	s = strings.Replace(s, " ", "T", 1)
	if at := strings.LastIndexAny(s, "+-"); at > strings.Index(s, "T") && at == len(s)-3 {
		s += ":00"
	}
	if bc {
		s += " BC"
	}
	return AppendString(b, []byte(s)), nil
}

const hex = "0123456789abcdef"

// AppendString appends a JSON string. Like Postgres, it escapes only what it has to.
func AppendString(b, text []byte) []byte {
	b = append(b, '"')
	start := 0
	for i, c := range text {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, text[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	b = append(b, text[start:]...)
	if !utf8.Valid(text) { // Possible in a database with encoding SQL_ASCII.
		b = bytes.ToValidUTF8(b, []byte("\ufffd"))
	}
	return append(b, '"')
}
