package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
	version    int // of the source's schema that it was made or extended for
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

// table returns the target of a change, which it makes or extends where that is needed.
func (p *Postgres) table(ctx context.Context, tx pgx.Tx, c change.Change) (*table, error) {
	source := quote(c.Schema, c.Table)
	t := p.tables[source]
	if t != nil && t.version >= c.SchemaVersion && t.has(c.New) {
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
		columns: map[string]bool{}, version: c.SchemaVersion,
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
	if err := t.make(ctx, tx, schema, columns); err != nil {
		return nil, &tableError{err}
	}
	p.tables[source] = t
	return t, nil
}

// has reports whether a row has no columns but those of the table.
func (t *table) has(row json.RawMessage) bool {
	if len(row) == 0 {
		return true
	}
	columns, err := names(row)
	return err == nil && !slices.ContainsFunc(columns, func(name string) bool { return !t.columns[name] })
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

// read finds out which columns there are. A table that is not Daymill's is left alone.
func (t *table) read(ctx context.Context, tx pgx.Tx, schema, name string) error {
	rows, err := tx.Query(ctx, `
		SELECT a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped`, schema, name)
	if err != nil {
		return err
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, column := range columns {
		t.columns[column] = true
	}
	if len(columns) > 0 && !t.columns[PositionColumn] {
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
func (t *table) make(ctx context.Context, tx pgx.Tx, schema string, columns []Column) error {
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
		_, err := tx.Exec(ctx, `CREATE TABLE IF NOT EXISTS `+t.tombstones+` (
			source text, key jsonb, position bigint NOT NULL, deleted_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (source, key));
			CREATE INDEX IF NOT EXISTS `+quote(TombstoneTable+"_deleted_at")+` ON `+t.tombstones+` (deleted_at)`)
		if err != nil {
			return fmt.Errorf("make the table of tombstones: %w", err)
		}
		_, err = tx.Exec(ctx, "CREATE TABLE "+t.name+" ("+strings.Join(missing, ", ")+", "+quote(PositionColumn)+
			" bigint NOT NULL, PRIMARY KEY ("+strings.Join(quoteAll(t.key), ", ")+"))")
		if err != nil {
			return fmt.Errorf("make the target table: %w", err)
		}
		t.columns[PositionColumn] = true
	}
	for _, column := range columns {
		t.columns[column.Name] = true
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

// batch splits rows into the parameters of a statement.
func batch(rows []row) (positions []int64, keys, values []string) {
	for _, r := range rows {
		positions, keys, values = append(positions, r.position), append(keys, r.key), append(values, r.values)
	}
	return positions, keys, values
}

// upsert writes rows that have the same columns, where what is there is older.
func (t *table) upsert(ctx context.Context, tx pgx.Tx, rows []row) error {
	columns := quoteAll(rows[0].columns)
	set := make([]string, 0, len(columns)+1)
	for _, column := range append(slices.Clone(columns), quote(PositionColumn)) {
		set = append(set, column+" = EXCLUDED."+column)
	}
	position := quote(PositionColumn)
	positions, keys, values := batch(rows)
	_, err := tx.Exec(ctx, `
		INSERT INTO `+t.name+` AS t (`+strings.Join(columns, ", ")+`, `+position+`)
		SELECT r.`+strings.Join(columns, ", r.")+`, x.position
		FROM unnest($1::bigint[], $2::text[], $3::text[]) AS x (position, key, value),
			jsonb_populate_record(NULL::`+t.name+`, x.value::jsonb) AS r
		WHERE NOT EXISTS (
			SELECT FROM `+t.tombstones+` AS d WHERE d.source = $4 AND d.key IN (x.key::jsonb, 'null'::jsonb) AND d.position >= x.position)
		ON CONFLICT (`+strings.Join(quoteAll(t.key), ", ")+`) DO UPDATE SET `+strings.Join(set, ", ")+`
		WHERE t.`+position+` < EXCLUDED.`+position,
		positions, keys, values, t.source)
	return err
}

// delete deletes rows that are older, and remembers that they are gone.
func (t *table) delete(ctx context.Context, tx pgx.Tx, rows []row, keep time.Duration) error {
	if !t.columns[PositionColumn] {
		return nil
	}
	match := make([]string, len(t.key))
	for i, column := range quoteAll(t.key) {
		match[i] = "t." + column + " = r." + column
	}
	positions, keys, _ := batch(rows)
	_, err := tx.Exec(ctx, `
		WITH x AS (SELECT position, key::jsonb AS key FROM unnest($1::bigint[], $2::text[]) AS x (position, key)),
		gone AS (
			DELETE FROM `+t.name+` AS t USING x, jsonb_populate_record(NULL::`+t.name+`, x.key) AS r
			WHERE `+strings.Join(match, " AND ")+` AND t.`+quote(PositionColumn)+` < x.position)
		INSERT INTO `+t.tombstones+` AS d (source, key, position) SELECT $3, key, position FROM x
		ON CONFLICT (source, key) DO UPDATE SET position = EXCLUDED.position, deleted_at = now() WHERE d.position < EXCLUDED.position`,
		positions, keys, t.source)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		DELETE FROM `+t.tombstones+` WHERE (source, key) IN (
			SELECT source, key FROM `+t.tombstones+` WHERE deleted_at < now() - $1::interval ORDER BY deleted_at LIMIT 1000)`, keep)
	return err
}

// truncate deletes rows that are older than the last truncate.
func (t *table) truncate(ctx context.Context, tx pgx.Tx, rows []row) error {
	if !t.columns[PositionColumn] {
		return nil
	}
	position := rows[len(rows)-1].position
	if _, err := tx.Exec(ctx, "DELETE FROM "+t.name+" WHERE "+quote(PositionColumn)+" < $1", position); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO `+t.tombstones+` AS d (source, key, position) VALUES ($1, 'null', $2)
		ON CONFLICT (source, key) DO UPDATE SET position = EXCLUDED.position, deleted_at = now() WHERE d.position < EXCLUDED.position`,
		t.source, position)
	return err
}
