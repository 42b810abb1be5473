// Package db is what sqlc generates of the queries in queries/. This file alone is written by hand: it sends what sqlc has
// checked in ways that sqlc does not generate.
package db

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// EventSliceEach is EventSlice, handing each row on as it arrives instead of keeping them all. Once each returns an error,
// the rest is dropped and the error returned.
func (q *Queries) EventSliceEach(ctx context.Context, arg EventSliceParams, each func(EventSliceRow) error) error {
	rows, err := q.db.Query(ctx, eventSlice, arg.FromInstant, arg.ToInstant, arg.AfterEntity, arg.UpToEntity)
	if err != nil {
		return err
	}
	var row EventSliceRow
	_, err = pgx.ForEachRow(rows, []any{&row.EntityID, &row.EventType, &row.Events}, func() error { return each(row) })
	return err
}

// SQL is EventRead as text and its parameters, to declare a cursor for. [EventReadEach] reads the rows.
func (arg EventReadParams) SQL() (string, []any) {
	return eventRead, []any{arg.AfterEntity, arg.UpToEntity, arg.FromInstant, arg.ToInstant}
}

// EventReadEach hands rows of EventRead on, those without an entity left out, and returns how many there were with them.
func EventReadEach(rows pgx.Rows, each func(EventReadRow)) (int, error) {
	var row EventReadRow
	id, n := &row.EntityID, 0
	_, err := pgx.ForEachRow(rows, []any{&id, &row.EventType}, func() error {
		n++
		if id != nil {
			row.EntityID = *id
			each(row)
		}
		return nil
	})
	return n, err
}
