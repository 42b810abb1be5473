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
	"github.com/daymill/daymill/internal/capture/value"
)

// table is what is known of a target table.
type table struct {
	name       string // quoted
	source     string // schema and table of the source, as in the tombstones
	tombstones string // quoted
	key        []string
	columns    map[string]bool
	types      map[string]string // of columns, as a cast names them, without a length
	version    int               // of the source's schema that the table was created or extended for
	older      string            // operator: a change overwrites a row if the row's position is older than the change's
	newer      string            // operator: a tombstone keeps a change out if its position is newer than the change's
}

// tableError is an error of creating or reading a table. No row causes it.
type tableError struct{ error }

func (e *tableError) Unwrap() error { return e.error }

// message returns the server's message, without the detail, which may have values.
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

// table returns the target table of a change, and creates or extends it if needed.
func (p *Postgres) table(ctx context.Context, tx pgx.Tx, c change.Change, values []field) (*table, error) {
	source := quote(c.Schema, c.Table)
	t := p.tables[source]
	// A table that a truncate or a sweep has looked up has no key.
	keyless := c.Op == change.Truncate || c.Op == change.Sweep
	if t != nil && t.version >= c.SchemaVersion && t.has(values) && (len(t.key) > 0 || keyless) {
		return t, nil
	}
	key, err := value.Names(c.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: its key is not a JSON object", errRow)
	}
	if t != nil && len(key) == 0 {
		return t, nil // A truncate has no key.
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
	// Shards create a table one after another, so the second one finds it.
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('daymill sink ' || $1, 0))", quote(schema)); err != nil {
		return nil, &tableError{err}
	}
	if err := t.read(ctx, tx, schema, c.Table); err != nil {
		return nil, &tableError{err}
	}
	columns, err := p.columns(ctx, tx, c)
	if err != nil {
		return nil, err
	}
	if err := t.make(ctx, tx, schema, c.Table, columns); err != nil {
		return nil, &tableError{err}
	}
	p.tables[source] = t
	return t, nil
}

// has reports whether the table has all columns of a row.
func (t *table) has(values []field) bool {
	return !slices.ContainsFunc(values, func(f field) bool { return !t.columns[f.name] })
}

// read reads the columns of the table and their types. It returns ErrTable if Daymill did not create the table.
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
		return fmt.Errorf("%w: %s was not created by Daymill: name another schema, or drop the table", ErrTable, t.name)
	}
	return nil
}

// columns returns the source's columns or, if these are not known, columns derived from the row's JSON.
func (p *Postgres) columns(ctx context.Context, tx pgx.Tx, c change.Change) ([]Column, error) {
	var columns []Column
	known := map[string]bool{}
	if p.config.Columns != nil {
		var err error
		if columns, err = p.config.Columns(ctx, tx, c); err != nil {
			return nil, err
		}
		for _, column := range columns {
			known[column.Name] = true
		}
	}
	for _, object := range []json.RawMessage{c.Key, c.New} {
		values, err := sink.Row(object)
		if err != nil {
			return nil, fmt.Errorf("%w: it is not a JSON object", errRow)
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

// guess returns a type that can hold a JSON value and similar ones.
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

// make creates what is missing: the schema, the tombstones, the table, columns.
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
			return nil // A truncate of a table that was never created here.
		}
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL", schema).Scan(&exists); err != nil {
			return err
		}
		if !exists { // A role that cannot create schemas can still use one.
			if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+quote(schema)); err != nil {
				return fmt.Errorf("create the target schema: %w", err)
			}
		}
		if err := t.remember(ctx, tx, schema); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "CREATE TABLE "+t.name+" ("+strings.Join(missing, ", ")+", "+quote(PositionColumn)+
			" bigint NOT NULL, PRIMARY KEY ("+strings.Join(quoteAll(t.key), ", ")+"))")
		if err != nil {
			return fmt.Errorf("create the target table: %w", err)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return t.read(ctx, tx, schema, name)
}

// remember creates the table of tombstones and its indexes, also if an earlier release has created only some of them. It checks first
// whether they exist, because CREATE INDEX IF NOT EXISTS locks out other shards even if the index exists.
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
		return fmt.Errorf("create the table of tombstones: %w", err)
	}
	return nil
}

// usable returns the type if the target has it, else text. to_regtype parses a type and nothing else, so the result is safe to use in a
// statement.
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
