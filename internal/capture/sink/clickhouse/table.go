package clickhouse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/value"
)

// table is what is known of a target table.
type table struct {
	name    string // quoted, with its database
	key     []string
	types   map[string]string // of columns
	version int               // of the source's schema that the table was created or extended for
}

// quote quotes a name.
func quote(name string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(name) + "`"
}

// literal quotes text for a statement.
func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// table returns the target table of a change, and creates or extends it if needed. It returns nil for a truncate or a sweep of a table
// that does not exist.
func (c *ClickHouse) table(ctx context.Context, one change.Change) (*table, error) {
	source := one.Schema + "\x00" + one.Table
	t := c.tables[source]
	row, err := sink.Row(one.New)
	if err != nil {
		return nil, &refusal{reason: "the row cannot be written: it is not a JSON object"}
	}
	if t != nil && t.version >= one.SchemaVersion && t.has(row) {
		return t, nil
	}
	database := c.config.Database
	if database == "" {
		database = one.Schema
	}
	key, err := value.Names(one.Key)
	if err != nil {
		return nil, &refusal{reason: "the row cannot be written: its key is not a JSON object"}
	}
	next := &table{name: quote(database) + "." + quote(one.Table), key: key, types: map[string]string{}, version: one.SchemaVersion}
	if err := c.read(ctx, next, database, one.Table); err != nil {
		return nil, err
	}
	if one.Op == change.Truncate || one.Op == change.Sweep {
		if t == nil && len(next.types) > 0 {
			if next.key, err = c.sortingKey(ctx, database, one.Table); err != nil {
				return nil, err
			}
			return next, nil
		}
		return t, nil
	}
	columns, err := c.columns(ctx, one, row)
	if err != nil {
		return nil, err
	}
	if err := c.make(ctx, next, database, columns); err != nil {
		return nil, err
	}
	if err := c.read(ctx, next, database, one.Table); err != nil {
		return nil, err
	}
	c.tables[source] = next
	return next, nil
}

func (t *table) has(row map[string]any) bool {
	for name := range row {
		if _, has := t.types[name]; !has {
			return false
		}
	}
	return true
}

// read reads the columns of the table. It returns ErrTable if Daymill did not create the table.
func (c *ClickHouse) read(ctx context.Context, t *table, database, name string) error {
	answer, err := c.query(ctx, "SELECT name, type FROM system.columns WHERE database = "+literal(database)+" AND table = "+literal(name)+
		" FORMAT JSONEachRow")
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(answer))
	for decoder.More() {
		var column struct {
			Name string `json:"name"`
			Type string `json:"type"`
		}
		if err := decoder.Decode(&column); err != nil {
			return fmt.Errorf("read what ClickHouse answered: %w", err)
		}
		t.types[column.Name] = column.Type
	}
	if _, ours := t.types[PositionColumn]; len(t.types) > 0 && !ours {
		return fmt.Errorf("%w: %s was not created by Daymill: name another schema, or drop the table", ErrTable, t.name)
	}
	return nil
}

// sortingKey returns the columns of a table's key.
func (c *ClickHouse) sortingKey(ctx context.Context, database, name string) ([]string, error) {
	answer, err := c.query(ctx, "SELECT name FROM system.columns WHERE database = "+literal(database)+" AND table = "+literal(name)+
		" AND substring(type, 1, 8) != 'Nullable' AND name NOT IN ("+literal(PositionColumn)+", "+literal(DeletedColumn)+") FORMAT JSONEachRow")
	if err != nil {
		return nil, err
	}
	var key []string
	decoder := json.NewDecoder(bytes.NewReader(answer))
	for decoder.More() {
		var column struct {
			Name string `json:"name"`
		}
		if err := decoder.Decode(&column); err != nil {
			return nil, fmt.Errorf("read what ClickHouse answered: %w", err)
		}
		key = append(key, column.Name)
	}
	return key, nil
}

// columns returns the columns of the source, and any other columns that the row has.
func (c *ClickHouse) columns(ctx context.Context, one change.Change, row map[string]any) (columns []sink.Column, err error) {
	if c.config.Columns != nil {
		if columns, err = c.config.Columns(ctx, one); err != nil {
			return nil, err
		}
	}
	known := map[string]bool{}
	for _, column := range columns {
		known[column.Name] = true
	}
	key, err := sink.Row(one.Key)
	if err != nil {
		return nil, &refusal{reason: "the row cannot be written: its key is not a JSON object"}
	}
	for _, values := range []map[string]any{key, row} {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if !known[name] {
				known[name], columns = true, append(columns, sink.Column{Name: name})
			}
		}
	}
	return columns, nil
}

// make creates what is missing: the database, the table, columns. Another shard may do the same at the same time.
func (c *ClickHouse) make(ctx context.Context, t *table, database string, columns []sink.Column) error {
	var definitions []string
	for _, column := range columns {
		if column.Name == PositionColumn || column.Name == DeletedColumn {
			return fmt.Errorf("%w: the source has a column %s of its own", ErrTable, column.Name)
		}
		if _, has := t.types[column.Name]; has {
			continue
		}
		kind := c.typeOf(column.Type)
		if !slices.Contains(t.key, column.Name) {
			kind = "Nullable(" + kind + ")"
		}
		definitions = append(definitions, quote(column.Name)+" "+kind)
	}
	if len(t.types) > 0 {
		for _, definition := range definitions {
			err := c.send(ctx, "ALTER TABLE "+t.name+" ADD COLUMN "+definition, nil)
			if err != nil && !isCode(err, codeDuplicate) {
				return fmt.Errorf("extend the target table: %w", err)
			}
		}
		return nil
	}
	if err := c.send(ctx, "CREATE DATABASE IF NOT EXISTS "+quote(database), nil); err != nil {
		return fmt.Errorf("create the target database: %w", err)
	}
	engine, settings := "ReplacingMergeTree("+PositionColumn+")", ""
	if c.version.atLeast(23, 2) {
		engine = "ReplacingMergeTree(" + PositionColumn + ", " + DeletedColumn + ")"
	}
	if c.version.atLeast(22, 3) {
		settings = " SETTINGS non_replicated_deduplication_window = 1000"
	}
	definitions = append(definitions, PositionColumn+" UInt64", DeletedColumn+" UInt8 DEFAULT 0")
	err := c.send(ctx, "CREATE TABLE IF NOT EXISTS "+t.name+" ("+strings.Join(definitions, ", ")+") ENGINE = "+engine+" ORDER BY ("+t.keyColumns()+")"+settings, nil)
	if err != nil {
		return fmt.Errorf("create the target table: %w", err)
	}
	return nil
}

func (t *table) keyColumns() string {
	quoted := make([]string, len(t.key))
	for i, name := range t.key {
		quoted[i] = quote(name)
	}
	return strings.Join(quoted, ", ")
}

var numericPattern = regexp.MustCompile(`^numeric\((\d+),(\d+)\)$`)

// typeOf returns the ClickHouse type that holds every value of a Postgres type; String if there is none.
func (c *ClickHouse) typeOf(kind string) string {
	simple := map[string]string{
		"smallint": "Int16", "integer": "Int32", "bigint": "Int64", "real": "Float32", "double precision": "Float64",
		"boolean": "UInt8", "uuid": "UUID",
	}
	if c.version.atLeast(20, 1) {
		simple["timestamp with time zone"] = "DateTime64(6, 'UTC')"
	}
	if found, has := simple[kind]; has {
		return found
	}
	if match := numericPattern.FindStringSubmatch(kind); match != nil {
		precision := len(match[1])
		if precision < 2 || precision == 2 && match[1] <= "38" {
			return "Decimal(" + match[1] + ", " + match[2] + ")"
		}
	}
	return "String"
}
