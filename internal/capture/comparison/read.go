package comparison

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/sink/postgres"
	database "github.com/daymill/daymill/internal/postgres"
)

func quote(names ...string) string { return pgx.Identifier(names).Sanitize() }

// row is a row of one side.
type row struct {
	document string // a JSON object with the target's names, as jsonb writes it
	version  string // of the row in the source; each write changes it
	position int64  // of the last change, in the target
}

// equal reports whether two rows have the same values. Where the target lacks the type of a column, it stores the value as text, so a
// value that is not a string in the source's JSON also equals the string that spells it.
func equal(source, target string) bool {
	if source == target {
		return true
	}
	var wanted, got map[string]json.RawMessage
	if json.Unmarshal([]byte(source), &wanted) != nil || json.Unmarshal([]byte(target), &got) != nil {
		return false
	}
	for name, value := range wanted {
		if bytes.Equal(value, got[name]) {
			continue
		}
		var text string
		if value[0] == '"' || string(value) == "null" || json.Unmarshal(got[name], &text) != nil || text != string(value) {
			return false
		}
	}
	return true
}

// settings returns settings with which both sides print values in the same way.
func settings() database.Local {
	return database.Local{"TimeZone": "UTC", "IntervalStyle": "postgres", "bytea_output": "hex", "extra_float_digits": "1"}
}

func (s side) exists(ctx context.Context) (exists bool, err error) {
	err = s.db.Read(ctx, func(on database.DBTX) error {
		return on.QueryRow(ctx, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", s.name).Scan(&exists)
	})
	if err != nil {
		err = fmt.Errorf("look up %s: %w", s.name, err)
	}
	return exists, err
}

// has returns an error if a column is missing.
func (s side) has(ctx context.Context, columns []string) error {
	var missing []string
	err := s.db.Read(ctx, func(on database.DBTX) error {
		return on.QueryRow(ctx, `
			SELECT coalesce(pg_catalog.array_agg(c.name), '{}') FROM pg_catalog.unnest($2::text[]) AS c (name)
			WHERE NOT EXISTS (
				SELECT FROM pg_catalog.pg_attribute AS a
				WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped)`,
			s.name, append([]string{postgres.PositionColumn}, columns...)).Scan(&missing)
	})
	if err != nil {
		return fmt.Errorf("read the columns of %s: %w", s.name, err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s has no column %s", postgres.ErrTable, s.name, strings.Join(missing, ", "))
	}
	return nil
}

// keyDocument returns the SQL for a row's key as a JSON array, because the two sides may have different names for the columns.
func (s side) keyDocument() string {
	values := make([]string, len(s.key))
	for i, name := range s.key {
		values[i] = "pg_catalog.to_jsonb(t." + quote(name) + ")"
	}
	return "pg_catalog.jsonb_build_array(" + strings.Join(values, ", ") + ")::text"
}

// keyOf returns the SQL that converts a key's document to a row of the table, whose columns have the right types.
func (s side) keyOf(document string) string {
	fields := make([]string, len(s.key))
	for i, name := range s.key {
		fields[i] = literal(name) + ", (" + document + ")::jsonb -> " + strconv.Itoa(i)
	}
	return "pg_catalog.jsonb_populate_record(NULL::" + s.name + ", pg_catalog.jsonb_build_object(" + strings.Join(fields, ", ") + "))"
}

// document returns the SQL for the row as a JSON object with the target's names.
func (s side) document() string {
	values := make([]string, 0, len(s.key)+len(s.columns))
	for i, name := range append(slices.Clone(s.key), s.columns...) {
		values = append(values, "t."+quote(name)+" AS "+quote(s.called[i]))
	}
	return "(SELECT pg_catalog.to_jsonb(r.*)::text FROM (SELECT " + strings.Join(values, ", ") + ") AS r)"
}

// chunk reads rows after a key, in the order of the key, and their keys in that order.
func (s side) chunk(ctx context.Context, after string, limit int) (rows map[string]row, order []string, err error) {
	columns, last := make([]string, len(s.key)), make([]string, len(s.key))
	for i, name := range s.key {
		columns[i] = "t." + quote(name)
		last[i] = "(SELECT k." + quote(name) + " FROM " + s.keyOf("$1::text") + " AS k)"
	}
	by, where := strings.Join(columns, ", "), ""
	var arguments []any
	if after != "" {
		where, arguments = " WHERE ("+by+") > ("+strings.Join(last, ", ")+")", []any{after}
	}
	rows = make(map[string]row, limit)
	err = s.read(ctx, "SELECT "+s.keyDocument()+", "+s.document()+" FROM "+s.name+" AS t"+where+" ORDER BY "+by+" LIMIT "+strconv.Itoa(limit),
		arguments, func(found pgx.Rows) error {
			var key, document string
			if err := found.Scan(&key, &document); err != nil {
				return err
			}
			rows[key], order = row{document: document}, append(order, key)
			return nil
		})
	return rows, order, err
}

// lookup reads the rows with some keys.
func (s side) lookup(ctx context.Context, keys []string) (map[string]row, error) {
	match := make([]string, len(s.key))
	for i, name := range s.key {
		match[i] = "t." + quote(name) + " = k." + quote(name)
	}
	extra := "t.xmin::text || ' ' || t.ctid::text, 0::bigint"
	if s.target {
		extra = "'', t." + quote(postgres.PositionColumn)
	}
	rows := make(map[string]row, len(keys))
	err := s.read(ctx, "SELECT x.key, "+s.document()+", "+extra+" FROM pg_catalog.unnest($1::text[]) AS x (key) CROSS JOIN LATERAL "+
		s.keyOf("x.key")+" AS k INNER JOIN "+s.name+" AS t ON "+strings.Join(match, " AND "), []any{keys}, func(found pgx.Rows) error {
		var key string
		var r row
		if err := found.Scan(&key, &r.document, &r.version, &r.position); err != nil {
			return err
		}
		rows[key] = r
		return nil
	})
	return rows, err
}

func (s side) read(ctx context.Context, sql string, arguments []any, each func(found pgx.Rows) error) error {
	err := s.db.ReadTx(ctx, func(tx pgx.Tx) error {
		if err := database.SetLocal(ctx, tx, settings()); err != nil {
			return err
		}
		found, err := tx.Query(ctx, sql, arguments...)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			if err := each(found); err != nil {
				return err
			}
		}
		return found.Err()
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", s.name, err)
	}
	return nil
}

func literal(value string) string { return "'" + strings.ReplaceAll(value, "'", "''") + "'" }
