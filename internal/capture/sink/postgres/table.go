package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
)

// table is a target table, as far as it is known.
type table struct {
	name       string // quoted
	source     string // schema and table of the source, as tombstones name it
	tombstones string // quoted
	key        []string
	columns    map[string]bool
	types      map[string]string // of columns, as a cast names them, without a length
	version    int               // of the source's schema that it was made or extended for
	older      string            // the operator by which a row's position is less than a change's that is written over it
	newer      string            // and the one by which a tombstone's position keeps a change out
}

// tableError is an error of making or reading a table, which is no row's.
type tableError struct{ error }

func (e *tableError) Unwrap() error { return e.error }

// message is what a server says, without the values that it quotes in the detail.
func message(err error) string {
	if server, ok := errors.AsType[*pgconn.PgError](err); ok {
		return server.Message
	}
	return err.Error()
}

func quote(names ...string) string { return pgx.Identifier(names).Sanitize() }

func quoteAll(names []string) []string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	return quoted
}

// table returns the target of a change, which it makes or extends if that is needed.
func (p *Postgres) table(ctx context.Context, tx pgx.Tx, c change.Change, values map[string]json.RawMessage) (*table, error) {
	source := quote(c.Schema, c.Table)
	t := p.tables[source]
	// One that a truncate or a sweep has looked up has no key.
	keyless := c.Op == change.Truncate || c.Op == change.Sweep
	if t != nil && t.version >= c.SchemaVersion && t.has(values) && (len(t.key) > 0 || keyless) {
		return t, nil
	}
	key, err := names(c.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: its key is no JSON object", errRow)
	}
	if t != nil && len(key) == 0 {
		return t, nil // A truncate has none.
	}
	schema := p.config.Schema
	if schema == "" {
		schema = c.Schema
	}
	t = &table{
		name: quote(schema, c.Table), source: source, tombstones: quote(schema, TombstoneTable), key: key,
		columns: map[string]bool{}, types: map[string]string{}, version: c.SchemaVersion,
		older: "<", newer: ">=",
	}
	if p.config.Repair {
		t.older, t.newer = "<=", ">"
	}
	// Shards make a table one after another: the second one finds it.
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('daymill sink ' || $1, 0))", quote(schema)); err != nil {
		return nil, &tableError{err}
	}
	if err := t.read(ctx, tx, schema, c.Table); err != nil {
		return nil, &tableError{err}
	}
	columns, err := p.columns(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := t.make(ctx, tx, schema, c.Table, columns); err != nil {
		return nil, &tableError{err}
	}
	p.tables[source] = t
	return t, nil
}

// has reports whether a row has no columns but those of the table.
func (t *table) has(values map[string]json.RawMessage) bool {
	for name := range values {
		if !t.columns[name] {
			return false
		}
	}
	return true
}

// names are the names of a JSON object, in its order.
func names(object json.RawMessage) ([]string, error) {
	if len(object) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(strings.NewReader(string(object)))
	token, err := decoder.Token()
	if err != nil || token == nil {
		return nil, err
	}
	if token != json.Delim('{') {
		return nil, errRow
	}
	var found []string
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		found = append(found, name)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// read finds out which columns there are, and of which types. A table that is not Daymill's is left alone.
func (t *table) read(ctx context.Context, tx pgx.Tx, schema, name string) error {
	rows, err := tx.Query(ctx, `
		SELECT a.attname, pg_catalog.format_type(a.atttypid, -1)
		FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped`, schema, name)
	if err != nil {
		return err
	}
	var column, kind string
	_, err = pgx.ForEachRow(rows, []any{&column, &kind}, func() error {
		t.columns[column], t.types[column] = true, kind
		return nil
	})
	if err != nil {
		return err
	}
	if len(t.columns) > 0 && !t.columns[PositionColumn] {
		return fmt.Errorf("%w: %s is not one that Daymill made: name another schema, or drop it", ErrTable, t.name)
	}
	return nil
}

// columns are those of the source, or what the row's JSON says of them.
func (p *Postgres) columns(ctx context.Context, c change.Change) ([]Column, error) {
	var columns []Column
	known := map[string]bool{}
	if p.config.Columns != nil {
		var err error
		if columns, err = p.config.Columns(ctx, c); err != nil {
			return nil, err
		}
		for _, column := range columns {
			known[column.Name] = true
		}
	}
	for _, object := range []json.RawMessage{c.Key, c.New} {
		values, err := sink.Row(object)
		if err != nil {
			return nil, fmt.Errorf("%w: it is no JSON object", errRow)
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if !known[name] {
				known[name] = true
				columns = append(columns, Column{Name: name, Type: guess(values[name])})
			}
		}
	}
	return columns, nil
}

// guess is a type that takes a value of JSON, and others like it.
func guess(value any) string {
	switch value.(type) {
	case json.Number:
		return "numeric"
	case bool:
		return "boolean"
	case map[string]any, []any:
		return "jsonb"
	default:
		return "text"
	}
}

// make makes what is missing: the schema, the tombstones, the table, columns.
func (t *table) make(ctx context.Context, tx pgx.Tx, schema, name string, columns []Column) error {
	var missing []string
	for _, column := range columns {
		if column.Name == PositionColumn {
			return fmt.Errorf("%w: the source has a column %s of its own", ErrTable, PositionColumn)
		}
		if t.columns[column.Name] {
			continue
		}
		kind, err := usable(ctx, tx, column.Type)
		if err != nil {
			return err
		}
		missing = append(missing, quote(column.Name)+" "+kind)
	}
	if t.columns[PositionColumn] {
		if err := t.remember(ctx, tx, schema); err != nil {
			return err
		}
		if len(missing) == 0 {
			return nil
		}
		if _, err := tx.Exec(ctx, "ALTER TABLE "+t.name+" ADD COLUMN "+strings.Join(missing, ", ADD COLUMN ")); err != nil {
			return fmt.Errorf("extend the target table: %w", err)
		}
	} else {
		if len(t.key) == 0 {
			return nil // A truncate of a table that has no rows here.
		}
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL", schema).Scan(&exists); err != nil {
			return err
		}
		if !exists { // Who may not make schemas may still use one.
			if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+quote(schema)); err != nil {
				return fmt.Errorf("make the target schema: %w", err)
			}
		}
		if err := t.remember(ctx, tx, schema); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "CREATE TABLE "+t.name+" ("+strings.Join(missing, ", ")+", "+quote(PositionColumn)+
			" bigint NOT NULL, PRIMARY KEY ("+strings.Join(quoteAll(t.key), ", ")+"))")
		if err != nil {
			return fmt.Errorf("make the target table: %w", err)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return t.read(ctx, tx, schema, name)
}

// remember makes the table of tombstones and its indexes, also where an earlier release has made only some of them. It looks first:
// CREATE INDEX IF NOT EXISTS locks out other shards even if there is nothing to do.
func (t *table) remember(ctx context.Context, tx pgx.Tx, schema string) error {
	var complete bool
	err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL AND to_regclass($3) IS NOT NULL",
		t.tombstones, quote(schema, TombstoneTable+"_deleted_at"), quote(schema, TombstoneTable+"_position")).Scan(&complete)
	if err == nil && !complete {
		_, err = tx.Exec(ctx, `CREATE TABLE IF NOT EXISTS `+t.tombstones+` (
			source text, key jsonb, position bigint NOT NULL, deleted_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (source, key));
			CREATE INDEX IF NOT EXISTS `+quote(TombstoneTable+"_deleted_at")+` ON `+t.tombstones+` (deleted_at);
			CREATE INDEX IF NOT EXISTS `+quote(TombstoneTable+"_position")+` ON `+t.tombstones+` (source, position)`)
	}
	if err != nil {
		return fmt.Errorf("make the table of tombstones: %w", err)
	}
	return nil
}

// usable returns a type that the target knows: the same, or text. to_regtype reads a type and nothing else, so what comes
// back can stand in a statement.
func usable(ctx context.Context, tx pgx.Tx, kind string) (string, error) {
	var known bool
	err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		return savepoint.QueryRow(ctx, "SELECT to_regtype($1) IS NOT NULL", kind).Scan(&known)
	})
	var server *pgconn.PgError
	if err != nil && !errors.As(err, &server) {
		return "", err
	}
	if !known {
		return "text", nil
	}
	return kind, nil
}
