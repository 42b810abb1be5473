package comparison

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/capture/table"
)

// ErrRepair says that the target refuses a row.
var ErrRepair = errors.New("the target refuses a row")

// Repairer returns a function that writes rows to a sink in the same way as the sink's own changes. The rows get the position of the
// last delivered change, so later changes overwrite them and earlier ones do not.
func Repairer(stream string, column func(name string, isKey bool) (string, bool), config postgres.Config) func(
	ctx context.Context, t table.Table, rows []Row, position int64) error {
	config.Repair = true
	return func(ctx context.Context, t table.Table, rows []Row, position int64) error {
		changes := make([]change.Change, len(rows))
		for i, row := range rows {
			key, err := keyObject(t, column, row.Key)
			if err != nil {
				return err
			}
			changes[i] = change.Change{
				Position: position, Stream: stream, Op: change.Update, Schema: t.Schema, Table: t.Name, Key: key, New: json.RawMessage(row.New),
			}
			if row.New == "" {
				changes[i].Op, changes[i].New = change.Delete, nil
			}
		}
		of := config
		of.Columns = func(context.Context, pgx.Tx, change.Change) ([]sink.Column, error) { return columnsOf(t, column), nil }
		refusals, err := postgres.New(of).Deliver(ctx, changes)
		if err != nil {
			return err
		}
		if len(refusals) > 0 {
			return fmt.Errorf("%w: %s: %s", ErrRepair, rows[refusals[0].Index].Key, refusals[0].Reason)
		}
		return nil
	}
}

// columnsOf returns the table's columns as the sink receives them, for a target that does not have the table yet.
func columnsOf(t table.Table, column func(name string, isKey bool) (string, bool)) []sink.Column {
	var columns []sink.Column
	for _, c := range t.Columns {
		if to, sent := column(c.Name, slices.Contains(t.Key, c.Name)); sent {
			columns = append(columns, sink.Column{Name: to, Type: c.Type})
		}
	}
	return columns
}

// keyObject returns a key as a JSON object with the names of its columns in the target, in the key's order.
func keyObject(t table.Table, column func(name string, isKey bool) (string, bool), document string) (json.RawMessage, error) {
	var values []json.RawMessage
	if err := json.Unmarshal([]byte(document), &values); err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	if len(values) != len(t.Key) {
		return nil, fmt.Errorf("read a key: it has %d values, and the key of %s has %d columns", len(values), t, len(t.Key))
	}
	object := []byte("{")
	for i, name := range t.Key {
		to, _ := column(name, true)
		quoted, err := json.Marshal(to)
		if err != nil {
			return nil, fmt.Errorf("write a key: %w", err)
		}
		if i > 0 {
			object = append(object, ',')
		}
		object = append(append(append(object, quoted...), ':'), values[i]...)
	}
	return append(object, '}'), nil
}
