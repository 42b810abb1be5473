package stream

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/archive/chain"
	"github.com/daymill/daymill/internal/archive/ddl"
	"github.com/daymill/daymill/internal/archive/row"
	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/postgres"
)

// few is the number of consecutive rows up to which they are INSERT statements; more become a COPY.
const few = 4

// known is a table with the types of its columns.
type known struct {
	row.Table

	own  bool // a table of the archive itself, which is not archived
	oids []uint32
	mods []int32
}

// decoder writes the SQL of each message.
type decoder struct {
	source postgres.DBTX
	writer *segment.Writer
	tables map[uint32]*known
	prefix string // of messages; see ddl.Prefix
	// triggers is false if there are no event triggers: no message is theirs.
	triggers bool

	open bool
	skip bool // the transaction is already in the file
	// expect is the transaction that was archived last, until the server has sent it again; zero if it does not have to.
	expect   segment.Last
	from     pglogrepl.LSN
	at       time.Time
	gap      *chain.Gap        // the transaction has a schema change that the archive does not have
	tag      string            // command tag of a statement whose rows come before its message; empty if there is none
	settings map[string]string // its role, and the rights of that
	resets   bool              // a statement that may set sequences was written since the sequences were

	// Consecutive rows of one table: the first few are held back.
	of      *row.Table
	held    [][]*string
	copying bool
	line    bytes.Buffer

	shipped *row.Table // table whose rows the triggers are sending
}

func (d *decoder) decode(ctx context.Context, data []byte) error {
	// pglogrepl refuses a row without columns, whose message is a byte shorter than it expects.
	if len(data) == 8 && pglogrepl.MessageType(data[0]) == pglogrepl.MessageTypeInsert {
		data = append(slices.Clone(data), 0)
	}
	message, err := pglogrepl.Parse(data)
	if err != nil {
		return fmt.Errorf("decode a message of the stream: %w", err)
	}
	if d.skip {
		if _, ends := message.(*pglogrepl.CommitMessage); ends {
			d.skip, d.open = false, false
		}
		if r, is := message.(*pglogrepl.RelationMessage); is {
			return d.relation(ctx, r)
		}
		return nil
	}
	switch m := message.(type) {
	case *pglogrepl.RelationMessage:
		d.flush()
		return d.relation(ctx, m)
	case *pglogrepl.BeginMessage:
		return d.begin(m)
	case *pglogrepl.CommitMessage:
		d.flush()
		d.open = false
		d.writer.Commit(m.TransactionEndLSN)
	case *pglogrepl.InsertMessage:
		t, err := d.table(m.RelationID)
		if err != nil || d.extension() || t.own {
			return err
		}
		d.insert(&t.Table, t.Values(m.Tuple))
	case *pglogrepl.UpdateMessage:
		return d.change(m.RelationID, func(t *row.Table) string { return t.Update(m.OldTuple, m.NewTuple) })
	case *pglogrepl.DeleteMessage:
		return d.change(m.RelationID, func(t *row.Table) string { return t.Delete(m.OldTuple) })
	case *pglogrepl.TruncateMessage:
		return d.truncate(m)
	case *pglogrepl.LogicalDecodingMessage:
		if m.Transactional && d.triggers {
			return d.message(m)
		}
	}
	return nil
}

// begin begins a transaction, or skips one that is already in the file. A server sends everything again that was not confirmed to it. It
// must then have the transaction that was archived last, as it was.
func (d *decoder) begin(m *pglogrepl.BeginMessage) error {
	d.open, d.tag, d.from, d.at = true, "", m.FinalLSN, m.CommitTime
	switch {
	case d.expect.LSN != 0:
		switch {
		case m.FinalLSN > d.expect.LSN, m.FinalLSN == d.expect.LSN && !m.CommitTime.Equal(d.expect.At):
			return d.older()
		case m.FinalLSN == d.expect.LSN:
			d.expect = segment.Last{}
		}
		d.skip = true
		return nil
	case m.FinalLSN >= d.writer.To:
	case d.writer.Last.LSN == 0: // It is in the base, or an earlier version has archived it.
		d.skip = true
		return nil
	default:
		back, err := d.writer.Back(m.FinalLSN)
		switch {
		case err != nil:
			return err
		case !back:
			return fmt.Errorf("%w: a new transaction is at %s, before what was archived", ErrOlder, m.FinalLSN)
		}
	}
	d.writer.Begin(m.FinalLSN, m.CommitTime)
	return nil
}

// older returns the error for a server that does not have the transaction that was archived last.
func (d *decoder) older() error {
	return fmt.Errorf("%w: it does not have the transaction that was archived last, of %s at %s",
		ErrOlder, d.expect.At.Format(time.RFC3339Nano), d.expect.LSN)
}

// extension reports whether an extension's script is running. A restore runs the script again when it creates the extension.
func (d *decoder) extension() bool { return strings.HasSuffix(d.tag, " EXTENSION") }

func (d *decoder) table(id uint32) (*known, error) {
	t, has := d.tables[id]
	if !has {
		return nil, fmt.Errorf("the stream has a change of table %d, which it has not described", id)
	}
	return t, nil
}

func (d *decoder) change(id uint32, text func(t *row.Table) string) error {
	t, err := d.table(id)
	if err != nil || d.extension() || t.own {
		return err
	}
	d.flush()
	d.writer.Write([]byte(text(&t.Table)))
	return nil
}

func (d *decoder) truncate(m *pglogrepl.TruncateMessage) error {
	d.flush()
	d.resets = true
	names := make([]string, 0, len(m.RelationIDs))
	for _, id := range m.RelationIDs {
		t, err := d.table(id)
		if err != nil {
			return err
		}
		names = append(names, t.Name)
	}
	const restart = 2
	text := "TRUNCATE ONLY " + strings.Join(names, ", ")
	if m.Option&restart != 0 {
		text += " RESTART IDENTITY"
	}
	// Every table that references these was truncated, too. The message lacks the partitioned ones, without which Postgres refuses: CASCADE adds them.
	if !d.extension() {
		d.writer.Write([]byte(text + " CASCADE;\n"))
	}
	return nil
}

// relation stores the description of a table for the messages that follow.
func (d *decoder) relation(ctx context.Context, message *pglogrepl.RelationMessage) error {
	schema := cmp.Or(message.Namespace, "pg_catalog") // Postgres sends no name for that one.
	t := &known{
		Table: row.Table{Name: row.Name(schema) + "." + row.Name(message.RelationName), Full: message.ReplicaIdentity == 'f'},
		own:   message.Namespace == ddl.Schema,
	}
	for _, c := range message.Columns {
		t.Columns = append(t.Columns, c.Name)
		t.Types = append(t.Types, c.DataType)
		t.Key = append(t.Key, c.Flags&1 == 1)
		t.oids, t.mods = append(t.oids, c.DataType), append(t.mods, c.TypeModifier)
	}
	// The catalog may be newer than the stream, so the triggers record which columns ever were identity columns. Nothing is known about a
	// table that was dropped.
	identity := "SELECT i.name FROM daymill_archive.identity AS i WHERE i.relation = $1"
	if !d.triggers {
		identity = "SELECT a.attname FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = $1 AND a.attidentity = 'a'"
	}
	rows, err := d.source.Query(ctx, identity+" UNION ALL SELECT NULL WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = $1)", message.RelationID)
	if err != nil {
		return fmt.Errorf("read the identity columns: %w", err)
	}
	always, err := pgx.CollectRows(rows, pgx.RowTo[*string])
	if err != nil {
		return fmt.Errorf("read the identity columns: %w", err)
	}
	for _, name := range t.Columns {
		t.Always = append(t.Always, slices.ContainsFunc(always, func(a *string) bool { return a == nil || *a == name }))
	}
	d.tables[message.RelationID] = t
	switch {
	case d.skip, t.own, d.extension():
		return nil
	case d.tag != "":
		return d.create(ctx, t)
	case d.triggers && message.ReplicaIdentity == 'd' && !slices.Contains(t.Key, true):
		// The triggers give each new table without a key another replica identity.
		d.lost("a table that was created without an event trigger, such as by EXPLAIN ANALYZE: " + t.Name)
	}
	return nil
}

// create writes the CREATE TABLE of a table whose rows come before the message of its statement. A table that already exists stays as it is.
func (d *decoder) create(ctx context.Context, t *known) error {
	columns := make([]string, len(t.Columns))
	for i, name := range t.Columns {
		var typeName string
		err := d.source.QueryRow(ctx, "SELECT pg_catalog.format_type($1, $2)", t.oids[i], t.mods[i]).Scan(&typeName)
		if err != nil {
			return fmt.Errorf("read a type's name: %w", err)
		}
		columns[i] = row.Name(name) + " " + typeName
	}
	settings := map[string]string{"search_path": "pg_catalog"}
	maps.Copy(settings, d.settings)
	d.block(settings, "CREATE TABLE IF NOT EXISTS "+t.Name+" ("+strings.Join(columns, ", ")+")")
	return nil
}

func (d *decoder) insert(t *row.Table, values []*string) {
	if d.of != t {
		d.flush()
		d.of = t
	}
	switch {
	case d.copying:
		d.copyRow(values)
	case len(d.held) < few || len(values) == 0:
		d.held = append(d.held, values)
		if len(values) == 0 {
			d.flush()
		}
	default:
		d.writer.Write([]byte(t.Copy()))
		d.copying = true
		for _, held := range d.held {
			d.copyRow(held)
		}
		d.held = nil
		d.copyRow(values)
	}
}

func (d *decoder) copyRow(values []*string) {
	d.line.Reset()
	row.Line(&d.line, values)
	d.writer.Write(d.line.Bytes())
}

// flush writes the rows that were held back.
func (d *decoder) flush() {
	if d.copying {
		d.writer.Write([]byte("\\.\n"))
	}
	for _, values := range d.held {
		d.writer.Write([]byte(d.of.Insert(values)))
	}
	d.of, d.held, d.copying = nil, nil, false
}

func (d *decoder) message(m *pglogrepl.LogicalDecodingMessage) error {
	switch {
	case m.Prefix == d.prefix+ddl.Row && d.shipped != nil:
		literals, err := ddl.DecodeRow(m.Content)
		if err != nil {
			return err
		}
		for i, l := range literals {
			if l != nil {
				text := row.Unquote(*l)
				literals[i] = &text
			}
		}
		d.insert(d.shipped, literals)
		return nil
	case m.Prefix != d.prefix:
		return nil
	}
	d.flush()
	message, err := ddl.Decode(m.Content)
	if err != nil {
		return err
	}
	if d.extension() && (message.Kind != ddl.KindEnd || message.Tag != d.tag) {
		return nil
	}
	switch message.Kind {
	case ddl.KindBegin:
		d.tag, d.settings = message.Tag, message.Settings
	case ddl.KindEnd:
		if message.Tag == d.tag {
			d.tag = ""
		}
		if message.Skip != "" {
			return nil
		}
		text, err := ddl.Text(message)
		if err != nil {
			d.lost(err.Error())
			return nil
		}
		if text != "" {
			d.block(message.Settings, text)
		}
	case ddl.KindSQL:
		d.block(nil, message.SQL)
	case ddl.KindRows:
		// TRUNCATE would fail if a foreign key references the table.
		d.block(nil, "DELETE FROM ONLY "+message.Table)
		d.shipped = &row.Table{Name: message.Table, Columns: message.Columns}
	case ddl.KindRowsEnd:
		d.shipped = nil
	case ddl.KindLost:
		d.lost(message.Tag + ": " + message.Reason)
	}
	return nil
}

// lost writes a statement that stops a restore, because the schema is unknown from here on.
func (d *decoder) lost(reason string) {
	if d.gap == nil {
		d.gap = &chain.Gap{From: segment.LSN(d.from), At: d.at.Add(-time.Microsecond).UTC(), Kind: chain.GapSchema, Reason: oneLine(reason)}
	}
	d.block(nil, "DO "+row.Literal("BEGIN RAISE EXCEPTION USING MESSAGE = "+row.Literal("the archive does not have a schema change:  "+oneLine(reason))+"; END"))
}

// block writes a schema change with the role and the settings that it ran with.
func (d *decoder) block(settings map[string]string, text string) {
	d.resets = true
	var b strings.Builder
	set := func(name, value string) {
		of := "set_config(" + row.Literal(name) + ", " + row.Literal(value) + ", true)"
		if name == "lc_monetary" || name == "timezone_abbreviations" {
			of = "daymill_restore.set(" + row.Literal(name) + ", " + row.Literal(value) + ")"
		}
		b.WriteString("SELECT " + of + ";\n")
	}
	b.WriteString("SELECT daymill_restore.wake();\n")
	var back []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		// The machine of a restore may not have the tablespace.
		if pinned[name] == settings[name] || rights[name] || name == "default_tablespace" {
			continue
		}
		if name != "search_path" {
			set(name, settings[name])
		}
		back = append(back, name)
	}
	path, has := settings["search_path"]
	role := settings["role"]
	lent := settings["creates"] == "true" || len(settings["member"]) > len("{}")
	if lent {
		b.WriteString("SELECT daymill_restore.lend(" + row.Literal(role) + ", " + row.Literal(settings["member"]) + ", " + row.Literal(settings["creates"]) + ");\n")
	}
	if settings["super"] == "true" {
		lent = true
		b.WriteString("SELECT daymill_restore.lend_all(" + row.Literal(role) + ");\n")
	}
	if role != "" {
		b.WriteString("SET LOCAL ROLE " + row.Name(role) + ";\n")
	}
	if has {
		set("search_path", path) // It is last, because the settings before it use no schema.
	}
	tag := "$ddl$"
	for i := 1; strings.Contains(text, tag); i++ {
		tag = fmt.Sprintf("$ddl%d$", i)
	}
	b.WriteString("SELECT " + tag + "\n" + text + "\n" + tag + " \\gexec\n")
	if role != "" {
		b.WriteString("RESET ROLE;\n")
	}
	if lent {
		b.WriteString("SELECT daymill_restore.take_back();\n")
	}
	for _, name := range back {
		b.WriteString("SET LOCAL \"" + name + "\" = " + pinnedSQL(name) + ";\n")
	}
	b.WriteString("SELECT daymill_restore.calm();\n")
	d.writer.Write([]byte(b.String()))
}

// rights are the values of a statement that are not settings: its role, the roles of which that is a member, whether it may create schemas, and whether it is a superuser.
//
//nolint:gochecknoglobals // A constant.
var rights = map[string]bool{"role": true, "member": true, "creates": true, "super": true}

// pinned are the settings of the prelude.
//
//nolint:gochecknoglobals // A constant.
var pinned = map[string]string{
	"search_path": "pg_catalog", "TimeZone": "UTC", "DateStyle": "ISO, YMD", "IntervalStyle": "postgres", "xmloption": "content",
	"standard_conforming_strings": "on", "array_nulls": "on", "transform_null_equals": "off", "default_tablespace": "",
	"default_table_access_method": "heap", "default_toast_compression": "pglz", "lc_monetary": "C", "timezone_abbreviations": "Default",
}

func pinnedSQL(name string) string {
	if name == "search_path" {
		return "pg_catalog"
	}
	if name == "DateStyle" {
		return "ISO, YMD"
	}
	return row.Literal(pinned[name])
}
