// Package db is what sqlc generates of the queries in queries/. This file alone is written by hand: it sends what sqlc has
// checked in ways that sqlc does not generate.
package db

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/entity"
)

// errFormat says that Postgres has sent what was not asked for.
var errFormat = errors.New("postgres has sent a row of another format than was asked for")

// EventSliceEach is EventSlice, handing each row on as it arrives: the entity in binary format, which like the type is only
// valid until each returns. Once each returns an error, the rest is dropped and the error returned.
func (q *Queries) EventSliceEach(
	ctx context.Context, arg EventSliceParams, each func(entityID, eventType []byte, events int64) error,
) error {
	rows, err := q.db.Query(ctx, eventSlice, pgx.QueryResultFormats{pgx.BinaryFormatCode},
		arg.FromInstant, arg.ToInstant, arg.AfterEntity, arg.UpToEntity)
	if err != nil {
		return err
	}
	return eachEvent(rows, each)
}

// EventSliceRawEach is EventSliceRaw as EventSliceEach is EventSlice, each row being one event.
func (q *Queries) EventSliceRawEach(
	ctx context.Context, arg EventSliceRawParams, each func(entityID, eventType []byte, events int64) error,
) error {
	rows, err := q.db.Query(ctx, eventSliceRaw, pgx.QueryResultFormats{pgx.BinaryFormatCode},
		arg.FromInstant, arg.ToInstant, arg.AfterEntity, arg.UpToEntity)
	if err != nil {
		return err
	}
	return eachEvent(rows, each)
}

// EventScopeEach is EventScope as EventSliceEach is EventSlice.
func (q *Queries) EventScopeEach(
	ctx context.Context, arg EventScopeParams, each func(entityID, eventType []byte, events int64) error,
) error {
	rows, err := q.db.Query(ctx, eventScope, pgx.QueryResultFormats{pgx.BinaryFormatCode}, arg.Entities, arg.FromInstant, arg.ToInstant)
	if err != nil {
		return err
	}
	return eachEvent(rows, each)
}

func eachEvent(rows pgx.Rows, each func(entityID, eventType []byte, events int64) error) error {
	defer rows.Close()
	for rows.Next() {
		values, events := rows.RawValues(), int64(1)
		if len(values) == 3 {
			if len(values[2]) != 8 {
				return errFormat
			}
			events = int64(binary.BigEndian.Uint64(values[2])) //nolint:gosec // The bits of a bigint.
		}
		if err := each(values[0], values[1], events); err != nil {
			return err
		}
	}
	return rows.Err()
}

// SQL is EventRead as text and its parameters, to declare a cursor for. [EventReadEach] reads the rows.
func (arg EventReadParams) SQL() (string, []any) {
	return eventRead, []any{arg.AfterEntity, arg.UpToEntity, arg.FromInstant, arg.ToInstant}
}

// EventReadEach hands rows of EventRead on as EventSliceEach does, those without an entity left out, and returns how many
// there were with them.
func EventReadEach(rows pgx.Rows, each func(entityID, eventType []byte, events int64) error) (n int, err error) {
	err = eachEvent(rows, func(entityID, eventType []byte, events int64) error {
		n++
		if entityID == nil {
			return nil
		}
		return each(entityID, eventType, events)
	})
	return n, err
}

// DateHoldRows is DateHold without a row that stands for none. held reports whether the fence was passed.
func (q *Queries) DateHoldRows(ctx context.Context, arg DateHoldParams) (rows []MetricRangeRow, startedAt time.Time, held bool, err error) {
	found, err := q.db.Query(ctx, dateHold, arg.MetricDate, arg.MaxRows, arg.Beat, arg.RunID, arg.Token)
	if err != nil {
		return nil, time.Time{}, false, err
	}
	defer found.Close()
	for found.Next() {
		var id *entity.ID
		var row MetricRangeRow
		err := found.Scan(&startedAt, &id, &row.ViewsCount, &row.ClicksCount, &row.SavesCount, &row.SkipsCount, &row.OtherCounts)
		if err != nil {
			return nil, time.Time{}, false, err
		}
		held = true
		if id != nil {
			row.EntityID = *id
			rows = append(rows, row)
		}
	}
	return rows, startedAt, held, found.Err()
}

// EventFewEach is EventFew as EventSliceEach is EventSlice, each row being one event.
func (q *Queries) EventFewEach(
	ctx context.Context, arg EventFewParams, each func(entityID, eventType []byte, events int64) error,
) error {
	// The plan depends on the bounds, whatever plan_cache_mode is: the statement has no name, so Postgres does not keep a plan for it.
	rows, err := q.db.Query(ctx, eventFew, pgx.QueryExecModeCacheDescribe, pgx.QueryResultFormats{pgx.BinaryFormatCode}, arg.FromInstant, arg.ToInstant, arg.AtMost)
	if err != nil {
		return err
	}
	return eachEvent(rows, each)
}

// GroupEventsEach is GroupEvents as EventFewEach is EventFew, with the date's place.
func (q *Queries) GroupEventsEach(
	ctx context.Context, arg GroupEventsParams, each func(place int, entityID, eventType []byte) error,
) error {
	// As in EventFewEach, Postgres plans it for the bounds.
	rows, err := q.db.Query(ctx, groupEvents, pgx.QueryExecModeCacheDescribe, pgx.QueryResultFormats{pgx.BinaryFormatCode},
		arg.FromInstants, arg.ToInstants, arg.AtMost)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		values := rows.RawValues()
		if len(values[0]) != 4 {
			return errFormat
		}
		if err := each(int(binary.BigEndian.Uint32(values[0])), values[1], values[2]); err != nil {
			return err
		}
	}
	return rows.Err()
}
