package view

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// changed returns the keys of a table's rows that changes are about, without duplicates, whether the table was truncated, and whether the key
// of some change is unknown.
func (v Version) changed(i int, changes []change.Change) (keys roots, truncated, unknown bool, err error) {
	source := v.Plan.Sources[i]
	for _, c := range changes {
		if !source.Named(c.Schema, c.Table) {
			continue
		}
		if c.Op == change.Truncate {
			truncated = true
			continue
		}
		of, err := keysOf(c, source)
		if err != nil {
			return nil, false, false, err
		}
		unknown = unknown || len(of) == 0
		keys = append(keys, of...)
	}
	return keys.distinct(), truncated, unknown, nil
}

// keysOf returns the texts of a change's key in the order of the table's. If the table had another key at that time, keysOf returns those of the
// old and the new row. It finds columns that were renamed since by their place. It returns none if they are not known.
func keysOf(c change.Change, source plan.Source) (roots, error) {
	columns := source.Key
	inOrder, byName, err := values(c.Key)
	if err != nil {
		return nil, fmt.Errorf("read the key at position %d: %w", c.Position, err)
	}
	if key, has := pick(byName, columns); has {
		return roots{key}, nil
	}
	another := false // Whether the key was another one, which still exists.
	for name := range byName {
		_, is := source.Column(name)
		another = another || is && !slices.Contains(columns, name)
	}
	if len(inOrder) == len(columns) && !another {
		return roots{inOrder}, nil
	}
	var keys roots
	for _, row := range []json.RawMessage{c.Old, c.New} {
		_, byName, err := values(row)
		if err != nil {
			return nil, fmt.Errorf("read the row at position %d: %w", c.Position, err)
		}
		if byName == nil {
			continue
		}
		key, has := pick(byName, columns)
		if !has {
			return nil, nil
		}
		keys = append(keys, key)
	}
	if c.Op == change.Update && len(keys) < 2 { //nolint:mnd // Before and after.
		return nil, nil // The row may have had another key.
	}
	return keys, nil
}

func pick(byName map[string]string, columns []string) ([]string, bool) {
	key := make([]string, len(columns))
	for k, column := range columns {
		text, has := byName[column]
		if !has {
			return nil, false
		}
		key[k] = text
	}
	return key, true
}

// values returns the texts of a JSON object's values, in order and by name; none if document is not an object.
func values(document json.RawMessage) (inOrder []string, byName map[string]string, err error) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, nil, nil //nolint:nilerr // It is null or empty.
	}
	byName = map[string]string{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, nil, err
		}
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, nil, err
		}
		text := sink.Text(value)
		byName[fmt.Sprint(name)], inOrder = text, append(inOrder, text)
	}
	return inOrder, byName, nil
}

// odd reports whether an error says that a value does not fit its type.
func odd(err error) bool {
	code := postgres.Code(err)
	return err != nil && (pgerrcode.IsDataException(code) || pgerrcode.IsIntegrityConstraintViolation(code))
}

// sort removes keys that are not values of the key's type from parts: a change may be older than its type, as if a label of an enum was renamed. It returns
// cause if there are none.
func (v Version) sort(ctx context.Context, tx pgx.Tx, parts []part, cause error) (misfits bool, err error) {
	for i, p := range parts {
		err := pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) (err error) {
			parts[i].keys, err = v.fitting(ctx, inner, p.table, p.keys)
			return err
		})
		if err != nil && !odd(err) { // The check of a domain is an error.
			return false, err
		}
		misfits = misfits || len(parts[i].keys) < len(p.keys)
	}
	if !misfits {
		return false, cause
	}
	return true, nil
}

// fitting returns those of some keys of a table that are values of the key's type.
func (v Version) fitting(ctx context.Context, on postgres.DBTX, table int, keys roots) (roots, error) {
	wrong := map[int]bool{}
	source := v.Plan.Sources[table]
	arrays := keys.arrays(len(source.Key))
	for k, name := range source.Key {
		column, _ := source.Column(name)
		places, err := misfits(ctx, on, arrays[k], column.Type)
		if err != nil {
			return nil, fmt.Errorf("check keys of %s: %w", v.Plan.Definition.Tables[table].Alias(), err)
		}
		for _, place := range places {
			wrong[place] = true
		}
	}
	var fit roots
	for i, key := range keys {
		if !wrong[i] {
			fit = append(fit, key)
		}
	}
	return fit, nil
}

// misfits returns the places of the texts, an array, that are not values of a type, in order.
func misfits(ctx context.Context, on postgres.DBTX, texts any, kind string) ([]int, error) {
	rows, err := on.Query(ctx, "SELECT u.place - 1 FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS u (value, place) WHERE NOT view.fits(u.value, $2) ORDER BY u.place", texts, kind)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}
