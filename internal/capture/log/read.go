package log

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// window is the number of positions that a read covers, at least.
	window = 1000
	// maxBytes is the size of rows, in bytes, after which a read ends, and probe the number of rows from which it learns how wide they are.
	maxBytes = 8 << 20
	probe    = 50
)

// Query selects the changes that a shard of a consumer reads.
type Query struct {
	Stream        string
	After         int64 // position
	Shard, Shards int   // by the hash of the key
	Limit         int   // changes
	// Consumer is the name of the consumer, which also receives the changes that are only for it.
	Consumer string
}

// Log reads changes. The zero value is ready to use.
type Log struct{}

// Head returns the last position of a stream's log, 0 if nothing was ever captured.
func (Log) Head(ctx context.Context, on postgres.DBTX, stream string) (int64, error) {
	row, err := db.New(on).StreamGet(ctx, stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return row.Position, nil
}

// selectSQL reads a limited span of positions, so that the index is the cheapest plan whatever the statistics say, and however many
// changes belong to other shards.
const selectSQL = `
SELECT l.position, l.op, l.schema_name, l.table_name, l.key::text, l.old::text, l.new::text, l.unchanged, l.key_changed, l.snapshot,
    l.xid, l.lsn, l.ordinal, l.committed_at, l.schema_version, l.looked_up
FROM capture.log AS l
WHERE l.stream_id = $1 AND l.position > $2 AND l.position <= $3
    AND (l.key_hash IS NULL OR (l.key_hash & 2147483647) % $4::integer = $5::integer)
    AND (l.consumer IS NULL OR l.consumer = $7)
ORDER BY l.position
LIMIT $6`

// Read returns changes of a shard after a position, in order, and the position up to which the shard has no others. A truncate belongs
// to all shards. It returns ErrForgotten if the log no longer has the changes after the position.
func (Log) Read(ctx context.Context, on postgres.DBTX, query Query) (changes []change.Change, upTo int64, err error) {
	stream, err := db.New(on).StreamGet(ctx, query.Stream)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, query.After, fmt.Errorf("%w: %s", ErrNoStream, query.Stream)
	}
	if err != nil {
		return nil, query.After, fmt.Errorf("read stream %s: %w", query.Stream, err)
	}
	if query.After < stream.Forgotten {
		return nil, query.After, ErrForgotten
	}
	if query.After >= stream.Position {
		return nil, query.After, nil
	}
	shards := max(1, query.Shards)
	end := min(stream.Position, query.After+max(window, int64(query.Limit)*int64(shards)))
	after, bytes, full := query.After, 0, false
	for step := min(query.Limit, probe); step > 0; {
		// Plan the query each time: a plan that was made while a partition was empty would later scan all of it.
		rows, err := on.Query(ctx, selectSQL, pgx.QueryExecModeCacheDescribe, stream.ID, after, end, shards, query.Shard, step, query.Consumer)
		if err != nil {
			return nil, query.After, fmt.Errorf("read the log: %w", err)
		}
		before := len(changes)
		changes = slices.Grow(changes, step)
		for !full && rows.Next() {
			c, err := scan(rows)
			if err != nil {
				rows.Close()
				return nil, query.After, fmt.Errorf("read the log: %w", err)
			}
			c.Stream = query.Stream
			changes, after = append(changes, c), c.Position
			bytes += len(c.Key) + len(c.Old) + len(c.New)
			full = len(changes) == query.Limit || bytes > maxBytes
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return nil, query.After, fmt.Errorf("read the log: %w", err)
		}
		if full || len(changes)-before < step {
			break
		}
		// As many as will probably fit. The server would send all rows of the statement, however wide they are.
		step = min(query.Limit-len(changes), (maxBytes-bytes)*len(changes)/max(bytes, 1)+1)
	}
	switch {
	case full:
		end = changes[len(changes)-1].Position
	case len(changes) == 0 && end < stream.Position:
		if end, err = over(ctx, on, stream.ID, end, stream.Position); err != nil {
			return nil, query.After, err
		}
	}
	return changes, end, nil
}

// over returns the last position before the next change. When a stream starts again, it skips positions.
func over(ctx context.Context, on postgres.DBTX, id int32, after, head int64) (int64, error) {
	next := head + 1
	err := on.QueryRow(ctx, "SELECT l.position FROM capture.log AS l WHERE l.stream_id = $1 AND l.position > $2 AND l.position <= $3 ORDER BY l.position LIMIT 1",
		pgx.QueryExecModeCacheDescribe, id, after, head).Scan(&next)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("read the log: %w", err)
	}
	return next - 1, nil
}

func scan(rows pgx.CollectableRow) (c change.Change, err error) {
	var key, before, after []byte
	err = rows.Scan(&c.Position, &c.Op, &c.Schema, &c.Table, &key, &before, &after, &c.Unchanged, &c.KeyChanged, &c.Snapshot,
		&c.XID, &c.LSN, &c.Ordinal, &c.CommittedAt, &c.SchemaVersion, &c.LookedUp)
	c.Key, c.Old, c.New = key, before, after
	c.CommittedAt = c.CommittedAt.UTC()
	return c, err
}
