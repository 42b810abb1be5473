package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// upsert writes rows that have the same columns, unless the stored row is newer. It sends the values as one array per column, and casts
// them; values of slow columns as one JSON object per row.
func (t *table) upsert(ctx context.Context, tx pgx.Tx, rows []row) error {
	columns, slow := rows[0].columns, rows[0].slow
	positions, keys := make([]int64, len(rows)), make([]string, len(rows))
	least := rows[0].position
	for i, r := range rows {
		positions[i], keys[i] = r.position, r.key
		least = min(least, r.position)
	}
	parameters := []any{t.source, least, positions, keys}
	from, names := "$3::bigint[], $4::text[]", "position, key"
	next := func(name string, values any) {
		parameters = append(parameters, values)
		from, names = from+", $"+strconv.Itoa(len(parameters))+"::text[]", names+", "+name
	}
	selected, set := make([]string, len(columns)), make([]string, len(columns)+1)
	for i, column := range columns {
		quoted := quote(column)
		set[i] = quoted + " = EXCLUDED." + quoted
		if slices.Contains(slow, column) {
			selected[i] = "r." + quoted
			continue
		}
		values := make([]pgtype.Text, len(rows))
		for j, r := range rows {
			values[j] = r.texts[i]
		}
		name := "c" + strconv.Itoa(i)
		next(name, values)
		selected[i] = "x." + name + "::" + t.types[column]
	}
	populate := ""
	if len(slow) > 0 {
		rest := make([]string, len(rows))
		for i, r := range rows {
			rest[i] = r.rest
		}
		next("rest", rest)
		populate = ", jsonb_populate_record(NULL::" + t.name + ", x.rest::jsonb) AS r"
	}
	position := quote(PositionColumn)
	set[len(columns)] = position + " = EXCLUDED." + position
	_, err := tx.Exec(ctx, `
		INSERT INTO `+t.name+` AS t (`+strings.Join(quoteAll(columns), ", ")+`, `+position+`)
		SELECT `+strings.Join(selected, ", ")+`, x.position
		FROM unnest(`+from+`) AS x (`+names+`)`+populate+`
		WHERE NOT EXISTS (SELECT FROM `+t.tombstones+` AS d WHERE d.source = $1 AND d.position >= $2)
			-- Usually nothing was deleted later, and this looks up no rows.
			OR NOT EXISTS (
				SELECT FROM `+t.tombstones+` AS d WHERE d.source = $1 AND d.key IN (x.key::jsonb, 'null'::jsonb) AND d.position `+t.newer+` x.position)
		ON CONFLICT (`+strings.Join(quoteAll(t.key), ", ")+`) DO UPDATE SET `+strings.Join(set, ", ")+`
		WHERE t.`+position+` `+t.older+` EXCLUDED.`+position, parameters...)
	return err
}

// delete deletes rows that are older than the change, and writes tombstones.
func (t *table) delete(ctx context.Context, tx pgx.Tx, rows []row, keep time.Duration) error {
	if !t.columns[PositionColumn] {
		return nil
	}
	match := make([]string, len(t.key))
	for i, column := range quoteAll(t.key) {
		match[i] = "t." + column + " = r." + column
	}
	positions, keys := make([]int64, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		positions[i], keys[i] = r.position, r.key
	}
	_, err := tx.Exec(ctx, `
		WITH x AS (SELECT position, key::jsonb AS key FROM unnest($1::bigint[], $2::text[]) AS x (position, key)),
		gone AS (
			DELETE FROM `+t.name+` AS t USING x, jsonb_populate_record(NULL::`+t.name+`, x.key) AS r
			WHERE `+strings.Join(match, " AND ")+` AND t.`+quote(PositionColumn)+` `+t.older+` x.position)
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

// sweep deletes rows whose last change is at or before a position.
func (t *table) sweep(ctx context.Context, tx pgx.Tx, rows []row) error {
	if !t.columns[PositionColumn] {
		return nil
	}
	for _, r := range rows {
		if _, err := tx.Exec(ctx, "DELETE FROM "+t.name+" WHERE "+quote(PositionColumn)+" <= $1", r.position); err != nil {
			return err
		}
	}
	return nil
}
