package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/value"
)

// lookUp reads the rows of a table with some keys, by the text of the keys. Keys of rows that are not there are missing in the result, and
// so are keys that have other columns than the table's key has now.
func (s *session) lookUp(ctx context.Context, tx pgx.Tx, t table.Table, keys []json.RawMessage) (map[string]json.RawMessage, error) {
	found := map[string]json.RawMessage{}
	if len(t.Columns) == 0 {
		return found, nil // The table was dropped.
	}
	types := value.New(tx)
	writeKey, err := types.Row(ctx, t.OID, t.Key)
	if err != nil {
		return nil, err
	}
	writeRow, err := types.Row(ctx, t.OID, t.Names())
	if err != nil {
		return nil, err
	}
	names := make([]string, len(t.Key))
	for i, name := range t.Key {
		names[i] = "n." + pgx.Identifier{name}.Sanitize()
	}
	var places []string
	var arguments []any
	for _, key := range keys {
		values, err := sink.Row(key)
		if err != nil {
			return nil, err
		}
		var place []string
		for _, name := range t.Key {
			part, has := values[name]
			if !has || len(values) != len(t.Key) {
				place = nil
				break
			}
			arguments = append(arguments, sink.Text(part))
			place = append(place, "$"+strconv.Itoa(len(arguments)))
		}
		if place != nil {
			places = append(places, "("+strings.Join(place, ", ")+")")
		}
	}
	if len(places) == 0 {
		return found, nil
	}
	// The values are texts whose types the comparison determines: see value.Parameters.
	rows, err := tx.Query(ctx, "SELECT "+value.RowSQL("n", t.Key)+", "+value.RowSQL("n", t.Names())+" FROM "+t.SQL()+" AS n WHERE ("+
		strings.Join(names, ", ")+") IN ("+strings.Join(places, ", ")+")", append([]any{pgx.QueryExecModeExec}, arguments...)...)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	var key, row string
	_, err = pgx.ForEachRow(rows, []any{&key, &row}, func() error {
		name, err := writeKey(nil, []byte(key))
		if err != nil {
			return err
		}
		document, err := writeRow(nil, []byte(row))
		found[string(bytes.TrimSpace(name))] = document
		return err
	})
	return found, err
}
