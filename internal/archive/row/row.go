// Package row writes changes of rows as SQL. A row is always a single line, so that psql and [segment] can read line by line.
package row

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgtype"
)

// Name quotes a name so that it stays on its line.
func Name(name string) string {
	if strings.IndexFunc(name, unicode.IsControl) < 0 {
		return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	var b strings.Builder
	b.WriteString(`U&"`)
	for _, r := range name {
		switch {
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\%04X`, r)
		case r == '"' || r == '\\':
			b.WriteRune(r)
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteString(`"`)
	return b.String()
}

// Literal quotes a value so that it stays on its line.
func Literal(value string) string {
	if !strings.ContainsAny(value, "\\\n\r") {
		return "'" + strings.ReplaceAll(value, "'", "''") + "'"
	}
	return "E'" + strings.NewReplacer(`\`, `\\`, "'", "''", "\n", `\n`, "\r", `\r`).Replace(value) + "'"
}

// Unquote returns the value of a literal that Postgres's quote_literal made.
func Unquote(literal string) string {
	literal = strings.TrimLeft(literal, " ")
	if rest, is := strings.CutPrefix(literal, "E'"); is {
		return strings.NewReplacer(`\\`, `\`, "''", "'").Replace(strings.TrimSuffix(rest, "'"))
	}
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(literal, "'"), "'"), "''", "'")
}

// Table is a table as the stream describes it.
type Table struct {
	Name    string // qualified and quoted
	Columns []string
	Types   []uint32
	Key     []bool
	Full    bool
	// Always says which columns may have been GENERATED ALWAYS AS IDENTITY when a row changed. An UPDATE must not set these.
	Always []bool
}

// Copy returns the line before rows in COPY's format.
func (t *Table) Copy() string { return "COPY " + t.Name + " (" + t.names() + ") FROM stdin;\n" }

func (t *Table) names() string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = Name(c)
	}
	return strings.Join(names, ", ")
}

//nolint:gochecknoglobals // A constant.
var copyEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

// Line writes values as a line in COPY's format. nil is NULL.
func Line(b *bytes.Buffer, values []*string) {
	for i, v := range values {
		if i > 0 {
			b.WriteByte('\t')
		}
		if v == nil {
			b.WriteString(`\N`)
			continue
		}
		_, _ = copyEscapes.WriteString(b, *v) // A buffer does not fail.
	}
	b.WriteByte('\n')
}

// unreadable lists types whose values Postgres writes but does not read. An archive has NULL for these.
func unreadable(oid uint32) bool {
	switch oid {
	case 194, 3361, 3402, 4600, 4601, 5017: // pg_node_tree, pg_ndistinct, pg_dependencies, pg_brin_bloom_summary, pg_brin_minmax_multi_summary, pg_mcv_list
		return true
	}
	return false
}

// Values returns a tuple's values.
func (t *Table) Values(tuple *pglogrepl.TupleData) []*string {
	all := values(tuple)
	for i := range all {
		if unreadable(t.Types[i]) {
			all[i] = nil
		}
	}
	return all
}

func values(tuple *pglogrepl.TupleData) []*string {
	all := make([]*string, len(tuple.Columns))
	for i, c := range tuple.Columns {
		if c.DataType == pglogrepl.TupleDataTypeText {
			text := string(c.Data)
			all[i] = &text
		}
	}
	return all
}

// Insert returns the statement that inserts a row.
func (t *Table) Insert(values []*string) string {
	if len(values) == 0 {
		return "INSERT INTO " + t.Name + " DEFAULT VALUES;\n"
	}
	literals := make([]string, len(values))
	for i, v := range values {
		literals[i] = literal(v)
	}
	return "INSERT INTO " + t.Name + " (" + t.names() + ") OVERRIDING SYSTEM VALUE VALUES (" + strings.Join(literals, ", ") + ");\n"
}

func literal(v *string) string {
	if v == nil {
		return "NULL"
	}
	return Literal(*v)
}

// native lists types for which = compares the text, so that an index can be used.
func native(oid uint32) bool {
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.UUIDOID, pgtype.TextOID, pgtype.VarcharOID,
		pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.BoolOID, pgtype.ByteaOID:
		return true
	}
	return false
}

// where returns the condition for a row: its key or, without a key, one of the rows that are equal in all columns.
func (t *Table) where(tuple *pglogrepl.TupleData) string {
	var parts []string
	for i, c := range tuple.Columns {
		name := Name(t.Columns[i])
		switch {
		case !t.Full && !t.Key[i], unreadable(t.Types[i]):
		case c.DataType == pglogrepl.TupleDataTypeNull:
			// IS NULL is also true of a composite value whose fields are NULL.
			parts = append(parts, name+" IS NOT DISTINCT FROM NULL")
		case c.DataType == pglogrepl.TupleDataTypeToast:
		case t.Full && (t.Types[i] == pgtype.TextOID || t.Types[i] == pgtype.VarcharOID): // Other texts are equal by a nondeterministic collation, too.
			literal := Literal(string(c.Data))
			parts = append(parts, name+" = "+literal+" AND "+name+` COLLATE "C" = `+literal)
		case !t.Full || native(t.Types[i]):
			parts = append(parts, name+" = "+Literal(string(c.Data)))
		default: // Compare the output of the type: a cast to text may differ from it, and some types have no =.
			parts = append(parts, "("+name+" IS DISTINCT FROM NULL AND format('%s', "+name+") COLLATE \"C\" = "+Literal(string(c.Data))+")")
		}
	}
	condition := strings.Join(parts, " AND ")
	if condition == "" {
		condition = "true"
	}
	if !t.Full {
		return condition
	}
	return "ctid = (SELECT ctid FROM ONLY " + t.Name + " WHERE " + condition + " LIMIT 1)"
}

// Delete returns the statement that deletes a row.
func (t *Table) Delete(before *pglogrepl.TupleData) string {
	return "DELETE FROM ONLY " + t.Name + " WHERE " + t.where(before) + ";\n"
}

// Update returns the statement that updates a row; empty if nothing changes.
func (t *Table) Update(before, after *pglogrepl.TupleData) string {
	from := before
	if from == nil {
		from = after
	}
	var sets []string
	always := false
	for i, c := range after.Columns {
		switch {
		case c.DataType == pglogrepl.TupleDataTypeToast, unreadable(t.Types[i]):
		case before == nil && t.Key[i]: // It is the key in the condition.
		case before != nil && t.Full && same(before.Columns[i], c):
		default:
			sets = append(sets, Name(t.Columns[i])+" = "+literal(values(&pglogrepl.TupleData{Columns: []*pglogrepl.TupleDataColumn{c}})[0]))
			always = always || t.Always[i]
		}
	}
	switch {
	case len(sets) == 0:
		return ""
	case !always:
		return "UPDATE ONLY " + t.Name + " SET " + strings.Join(sets, ", ") + " WHERE " + t.where(from) + ";\n"
	}
	all := make([]string, len(after.Columns))
	for i, c := range after.Columns {
		if all[i] = "old." + Name(t.Columns[i]); c.DataType != pglogrepl.TupleDataTypeToast && !unreadable(t.Types[i]) {
			all[i] = literal(values(&pglogrepl.TupleData{Columns: []*pglogrepl.TupleDataColumn{c}})[0])
		}
	}
	// A literal in the SELECT of an INSERT gets the type of its column.
	return "WITH old AS (DELETE FROM ONLY " + t.Name + " WHERE " + t.where(from) + " RETURNING *) INSERT INTO " + t.Name + " (" + t.names() +
		") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(all, ", ") + " FROM old;\n"
}

func same(a, b *pglogrepl.TupleDataColumn) bool {
	return a.DataType == b.DataType && bytes.Equal(a.Data, b.Data)
}
