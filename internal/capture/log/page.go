package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// pageWindow is the number of positions that one page of a filtered list searches, because the log has no index except on positions.
	pageWindow = 20_000
	// rateWindow is the number of positions over which the rate of changes is counted, at most.
	rateWindow = 5_000
	rateSpan   = time.Minute
)

// ErrNoChange says that the log has no change at a position.
var ErrNoChange = errors.New("the log has no change at this position: it never had one, or its retention is over")

// ErrKey says that Postgres cannot read the key in a filter.
var ErrKey = errors.New("the key is not valid JSON for Postgres: copy one from the list")

// Filter selects changes for people. Empty fields select all.
type Filter struct {
	Schema, Table string
	Op            string
	// Key is a key as JSON, such as {"id": 42}; KeyValue is the value of any of its columns.
	Key, KeyValue string
	// Until excludes changes that were committed later.
	Until time.Time
}

// Place is where a page of a list begins: before a position, after a position, or at the end of the log if both are 0.
type Place struct{ Before, After int64 }

// Page is a page of changes, newest first.
type Page struct {
	Changes []change.Change
	// Newer and Older are where the neighboring pages begin; zero if there is no such page.
	Newer, Older Place
	// Unfinished reports that the search ended before the page was full, although there is more of the log to search.
	Unfinished bool
}

const pageSQL = `
SELECT l.position, l.op, l.schema_name, l.table_name, l.key::text, l.old::text, l.new::text, l.unchanged, l.key_changed, l.snapshot,
    l.xid, l.lsn, l.ordinal, l.committed_at, l.schema_version, l.looked_up
FROM capture.log AS l
WHERE l.stream_id = $1 AND l.position > $2 AND l.position <= $3
    AND ($4::text = '' OR l.schema_name = $4) AND ($5::text = '' OR l.table_name = $5) AND ($6::text = '' OR l.op = $6)
    AND ($7::text IS NULL OR l.key::jsonb = $7::text::jsonb)
    AND ($8::text = '' OR EXISTS (SELECT FROM pg_catalog.json_each_text(l.key) AS k WHERE k.value = $8))
ORDER BY l.position `

// List returns a page of a stream's changes. It searches a bounded part of the log, however few changes the filter selects.
func (l Log) List(ctx context.Context, on postgres.DBTX, stream string, filter Filter, from Place, limit int) (Page, error) {
	row, err := db.New(on).StreamGet(ctx, stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return Page{}, fmt.Errorf("%w: %s", ErrNoStream, stream)
	}
	if err != nil {
		return Page{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	newest := row.Position
	if !filter.Until.IsZero() {
		if newest, err = l.until(ctx, on, row.ID, row.Forgotten, row.Position, filter.Until); err != nil {
			return Page{}, err
		}
	}
	after, upTo, order := max(row.Forgotten, newest-pageWindow), newest, "DESC"
	switch {
	case from.After != 0:
		after = max(row.Forgotten, min(from.After, newest))
		upTo, order = min(newest, after+pageWindow), "ASC"
	case from.Before != 0:
		upTo = max(row.Forgotten, min(newest, from.Before-1))
		after = max(row.Forgotten, upTo-pageWindow)
	}
	changes, err := l.page(ctx, on, stream, row.ID, after, upTo, filter, order, limit+1)
	if err != nil {
		return Page{}, err
	}
	full := len(changes) > limit
	changes = changes[:min(limit, len(changes))]
	page := Page{Changes: changes, Unfinished: !full && (order == "DESC" && after > row.Forgotten || order == "ASC" && upTo < newest)}
	low, high := after, upTo // What was searched.
	if order == "ASC" {
		if full {
			high = changes[len(changes)-1].Position
		}
		for i, j := 0, len(changes)-1; i < j; i, j = i+1, j-1 {
			changes[i], changes[j] = changes[j], changes[i]
		}
	} else if full {
		low = changes[len(changes)-1].Position - 1
	}
	if low > row.Forgotten {
		if !full { // If the stream was started again, positions were skipped.
			if low, err = under(ctx, on, row.ID, row.Forgotten, low); err != nil {
				return Page{}, err
			}
		}
		if low > row.Forgotten {
			page.Older = Place{Before: low + 1}
		}
	}
	if high < newest {
		page.Newer = Place{After: high}
	}
	return page, nil
}

// under returns the position of the last change at or before upTo, or low if there is none.
func under(ctx context.Context, on postgres.DBTX, id int32, low, upTo int64) (last int64, err error) {
	last = low
	err = on.QueryRow(ctx, "SELECT l.position FROM capture.log AS l WHERE l.stream_id = $1 AND l.position > $2 AND l.position <= $3 ORDER BY l.position DESC LIMIT 1",
		pgx.QueryExecModeCacheDescribe, id, low, upTo).Scan(&last)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("read the log: %w", err)
	}
	return last, nil
}

func (Log) page(
	ctx context.Context, on postgres.DBTX, stream string, id int32, after, upTo int64, filter Filter, order string, limit int,
) ([]change.Change, error) {
	var key *string
	if filter.Key != "" {
		key = &filter.Key
	}
	rows, err := on.Query(ctx, pageSQL+order+" LIMIT $9", pgx.QueryExecModeCacheDescribe,
		id, after, upTo, filter.Schema, filter.Table, filter.Op, key, filter.KeyValue, limit)
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	defer rows.Close()
	var changes []change.Change
	bytes := 0
	for rows.Next() {
		c, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		if bytes += len(c.Key) + len(c.Old) + len(c.New); bytes > maxBytes && len(changes) > 0 {
			break
		}
		c.Stream = stream
		changes = append(changes, c)
	}
	rows.Close()
	if failed, ok := errors.AsType[*pgconn.PgError](rows.Err()); ok && strings.HasPrefix(failed.Code, "22") && filter.Key != "" {
		return nil, ErrKey // Class 22 is data exceptions.
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	return changes, nil
}

// Get returns the change at a position, or ErrNoChange.
func (l Log) Get(ctx context.Context, on postgres.DBTX, stream string, position int64) (change.Change, error) {
	row, err := db.New(on).StreamGet(ctx, stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return change.Change{}, fmt.Errorf("%w: %s", ErrNoStream, stream)
	}
	if err != nil {
		return change.Change{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	if position <= 0 || position == math.MaxInt64 {
		return change.Change{}, ErrNoChange
	}
	changes, err := l.page(ctx, on, stream, row.ID, position-1, position, Filter{}, "ASC", 1)
	if err != nil {
		return change.Change{}, err
	}
	if len(changes) == 0 {
		return change.Change{}, ErrNoChange
	}
	return changes[0], nil
}

const committedSQL = `
SELECT l.position, l.committed_at FROM capture.log AS l
WHERE l.stream_id = $1 AND l.position > $2 AND l.position <= $3 ORDER BY l.position LIMIT 1`

// Next returns when the first change after a position was committed; zero if there is none.
func (Log) Next(ctx context.Context, on postgres.DBTX, stream string, after int64) (time.Time, error) {
	row, err := db.New(on).StreamGet(ctx, stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read stream %s: %w", stream, err)
	}
	_, at, err := next(ctx, on, row.ID, max(after, row.Forgotten), row.Position)
	return at, err
}

func next(ctx context.Context, on postgres.DBTX, id int32, after, upTo int64) (position int64, at time.Time, err error) {
	err = on.QueryRow(ctx, committedSQL, pgx.QueryExecModeCacheDescribe, id, after, upTo).Scan(&position, &at)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("read the log: %w", err)
	}
	return position, at, nil
}

// until returns the last position whose change was committed by an instant. Positions grow in the order of commits, so it is a binary search.
func (Log) until(ctx context.Context, on postgres.DBTX, id int32, low, high int64, until time.Time) (int64, error) {
	for low < high {
		middle := low + (high-low)/2
		position, at, err := next(ctx, on, id, middle, high)
		switch {
		case err != nil:
			return 0, err
		case position != 0 && !at.After(until):
			low = position
		default:
			high = middle
		}
	}
	return low, nil
}

const rateSQL = `
SELECT count(*)::bigint, coalesce(extract(epoch FROM now() - min(r.committed_at)), 0)::float8
FROM (
    SELECT l.committed_at FROM capture.log AS l
    WHERE l.stream_id = $1 AND l.position > $2 AND l.position <= $3 ORDER BY l.position DESC
) AS r
WHERE r.committed_at > now() - $4::interval`

// rate returns how many changes per second a stream had in the last minute.
func rate(ctx context.Context, on postgres.DBTX, id int32, position int64) (float64, error) {
	var count int64
	var seconds float64
	err := on.QueryRow(ctx, rateSQL, pgx.QueryExecModeCacheDescribe, id, max(0, position-rateWindow), position, rateSpan).Scan(&count, &seconds)
	if err != nil {
		return 0, fmt.Errorf("count the last changes: %w", err)
	}
	if count < rateWindow {
		seconds = rateSpan.Seconds()
	}
	return float64(count) / max(seconds, 0.001), nil
}

// Rate returns how many changes per second a stream had in the last minute, or over its last few thousand changes if that is less.
func (Log) Rate(ctx context.Context, on postgres.DBTX, stream string) (float64, error) {
	row, err := db.New(on).StreamGet(ctx, stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return rate(ctx, on, row.ID, row.Position)
}
