package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/value"
	"github.com/daymill/daymill/internal/capture/wal"
	"github.com/daymill/daymill/internal/capture/watermark"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// maxBytes is the approximate size of a chunk's rows, in bytes.
const maxBytes = 4 << 20

// chunk reads the next rows and appends them to the log, or finishes the snapshot if there are none.
func (r *runner) chunk(ctx context.Context, s db.SnapshotNextRow, t table.Table) (read rows, err error) {
	read, err = r.next(ctx, s, t)
	if err != nil {
		return rows{}, err
	}
	r.look(ctx, s, t, read)
	if err := r.landed(ctx, read); err != nil {
		return rows{}, err
	}
	return read, r.append(ctx, s, t, read)
}

// scan reads a chunk, between its watermarks.
func (r *runner) scan(ctx context.Context, s db.SnapshotNextRow, t table.Table) (rows, error) {
	low, err := r.place(ctx)
	if err != nil {
		return rows{}, err
	}
	if low.State != "running" {
		return rows{}, errAgain
	}
	if err := r.settle(ctx, low); err != nil {
		return rows{}, err
	}
	read, err := r.read(ctx, s, t)
	if err != nil {
		return rows{}, err
	}
	read.low = low
	read.high, err = watermark.Write(ctx, r.Source, watermark.Stream{ID: low.ID, Name: r.Stream, Mode: low.Mode})
	return read, err
}

// rows is a chunk.
type rows struct {
	changes []change.Change
	last    []string // key of the last row; nil if there was none
	took    time.Duration
	low     db.SnapshotStreamRow // the stream before it was read
	high    string               // the watermark that was written after it was read
}

// read reads a chunk in the order of the key.
func (r *runner) read(ctx context.Context, s db.SnapshotNextRow, t table.Table) (read rows, err error) {
	size := r.sizes[s.ID]
	if size == nil {
		size = pace.NewSize(float64(min(firstRows, r.Rows)), 1, float64(r.Rows))
		r.sizes[s.ID] = size
	}
	types := value.New(r.Source)
	parameters, err := types.Parameters(ctx, t.OID, t.Key)
	if err != nil {
		return rows{}, fmt.Errorf("read a chunk: %w", err)
	}
	writeKey, err := types.Row(ctx, t.OID, t.Key)
	if err != nil {
		return rows{}, fmt.Errorf("read a chunk: %w", err)
	}
	writeRow, err := types.Row(ctx, t.OID, t.Names())
	if err != nil {
		return rows{}, fmt.Errorf("read a chunk: %w", err)
	}
	sql, arguments := selectSQL(t, s.Cursor, parameters)
	for {
		limit := int(size.Value())
		var bytes int
		took, err := r.pacer.Do(r.session, func() error {
			return r.session.Walk(ctx, size.Limit(), func(ctx context.Context, on postgres.DBTX) error {
				read, bytes = rows{}, 0
				found, err := on.Query(ctx, sql+strconv.Itoa(limit), arguments...)
				if err != nil {
					return err
				}
				read.changes, err = pgx.AppendRows(make([]change.Change, 0, limit), found, func(row pgx.CollectableRow) (c change.Change, err error) {
					var key, values string
					if err = row.Scan(&read.last, &key, &values, &c.CommittedAt); err != nil {
						return c, err
					}
					c.Op, c.Schema, c.Table, c.Snapshot, c.Consumer = change.Insert, t.Schema, t.Name, true, s.Consumer
					c.CommittedAt = c.CommittedAt.UTC()
					if len(t.Key) > 0 {
						if c.Key, err = writeKey(nil, []byte(key)); err != nil {
							return c, err
						}
					}
					c.New, err = writeRow(nil, []byte(values))
					bytes += len(c.Key) + len(c.New)
					return c, err
				})
				return err
			})
		})
		switch {
		case postgres.IsTimeout(err):
			if !size.TimedOut(float64(limit)) {
				return rows{}, fmt.Errorf("read a chunk: %w", err)
			}
			continue
		case err != nil:
			return rows{}, fmt.Errorf("read a chunk: %w", err)
		}
		size.Took(float64(limit), took)
		if bytes > maxBytes {
			size.Set(max(1, float64(limit)/2))
		}
		for i := range read.changes {
			read.changes[i].Ordinal = i + 1
		}
		read.took = took
		return read, nil
	}
}

// selectSQL returns a query that reads rows after a cursor, up to the limit that follows. Rows without a key are read in the order in
// which they are stored: if a row moves in the meantime, its change is in the stream.
func selectSQL(t table.Table, cursor, parameters []string) (sql string, arguments []any) {
	var columns, texts []string
	if stored := t.Full() && len(t.Key) == len(t.Columns); stored {
		columns, texts, parameters = []string{"n.tableoid", "n.ctid"}, []string{"n.tableoid::text", "n.ctid::text"}, []string{"$1::text::oid", "$2::text::tid"}
	} else {
		for _, name := range t.Key {
			columns, texts = append(columns, "n."+pgx.Identifier{name}.Sanitize()), append(texts, value.TextSQL("n", name))
		}
	}
	where := ""
	if cursor != nil {
		where = " WHERE (" + strings.Join(columns, ", ") + ") > (" + strings.Join(parameters, ", ") + ")"
		for _, text := range cursor {
			arguments = append(arguments, text)
		}
	}
	return "SELECT ARRAY[" + strings.Join(texts, ", ") + "], " + value.RowSQL("n", t.Key) + ", " + value.RowSQL("n", t.Names()) + ", pg_catalog.statement_timestamp() FROM " +
		t.SQL() + " AS n" + where + " ORDER BY " + strings.Join(columns, ", ") + " LIMIT ", arguments
}

// settle waits until reads see the rows of all changes up to the low watermark. Otherwise a row from before one of these changes would follow it.
func (r *runner) settle(ctx context.Context, low db.SnapshotStreamRow) error {
	if low.Mode != wal.Mode {
		return nil // Triggers' changes are read when they are visible.
	}
	began, pause := r.Clock.Now(), 2*time.Millisecond
	for {
		is := false
		err := r.session.Read(ctx, pace.Limit, func(ctx context.Context, on postgres.DBTX) (err error) {
			is, err = log.Settled(ctx, r.DB, on, r.Stream, r.settled, low.Position)
			return err
		})
		if err != nil {
			return err
		}
		if is {
			r.settled = low.Position
			return nil
		}
		if r.Clock.Now().Sub(began) > patience {
			return fmt.Errorf("%w: a transaction is in the WAL, but its rows are not visible yet", errAgain)
		}
		if err := r.Clock.Sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// landed waits until everything that was committed before a chunk's high watermark is in the log.
func (r *runner) landed(ctx context.Context, read rows) error {
	began, pause := r.Clock.Now(), 2*time.Millisecond
	for {
		is, err := watermark.Take(ctx, r.DB, read.high)
		if err != nil || is {
			return err
		}
		if r.Clock.Now().Sub(began) > patience {
			return fmt.Errorf("%w: the watermark has not arrived", errAgain)
		}
		if err := r.Clock.Sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// append appends a chunk to the log and moves the cursor; without rows it finishes the snapshot. If the stream started again in the
// meantime, or the table was truncated, the chunk has to be read again.
func (r *runner) append(ctx context.Context, s db.SnapshotNextRow, t table.Table, read rows) error {
	return log.Append(ctx, r.DB, r.Stream, func(tx pgx.Tx, head int64) ([]change.Change, error) {
		queries := db.New(tx)
		now, err := queries.SnapshotStream(ctx, r.Stream)
		if err != nil {
			return nil, err
		}
		if now.Beginning != read.low.Beginning {
			return nil, errAgain
		}
		if read.last == nil {
			return r.finish(ctx, queries, s, t)
		}
		count, err := queries.SnapshotMove(ctx, db.SnapshotMoveParams{ID: s.ID, Chunks: s.Chunks, Cursor: read.last, Read: int64(len(read.changes))})
		if err != nil {
			return nil, fmt.Errorf("move the snapshot's cursor: %w", err)
		}
		if count == 0 {
			return nil, errAgain
		}
		changed, err := queries.SnapshotChanged(ctx, db.SnapshotChangedParams{
			StreamID: now.ID, After: read.low.Position, Upto: head, SchemaName: t.Schema, TableName: t.Name,
		})
		if err != nil {
			return nil, fmt.Errorf("look for newer changes: %w", err)
		}
		version, err := version(ctx, queries, now.ID, head, t)
		if err != nil {
			return nil, err
		}
		// By key of a row that has changed since: the columns that none of its changes has touched.
		newer := map[string][]string{}
		for _, c := range changed {
			if change.Op(c.Op) == change.Truncate {
				return nil, errAgain
			}
			if change.Op(c.Op) != change.Update {
				c.Unchanged = nil
			}
			key := change.Key(change.Change{Schema: t.Schema, Table: t.Name, Key: json.RawMessage(c.Key)})
			if before, has := newer[key]; has {
				c.Unchanged = slices.DeleteFunc(before, func(name string) bool { return !slices.Contains(c.Unchanged, name) })
			}
			newer[key] = c.Unchanged
		}
		kept := make([]change.Change, 0, len(read.changes))
		for _, c := range read.changes {
			c.SchemaVersion, c.LSN = version, landedAt(now)
			if len(newer) == 0 { // Spare the key.
				kept = append(kept, c)
				continue
			}
			untouched, has := newer[change.Key(c)]
			if has {
				if len(untouched) == 0 {
					continue
				}
				if c, err = rest(c, t, untouched); err != nil {
					return nil, err
				}
			}
			kept = append(kept, c)
		}
		return kept, nil
	})
}

// rest returns what remains of a row that has newer changes: an update of the columns that none of these changes has touched. Without
// it, a consumer that only received the newer changes would lack these columns.
func rest(c change.Change, t table.Table, untouched []string) (change.Change, error) {
	var row map[string]json.RawMessage
	if err := json.Unmarshal(c.New, &row); err != nil {
		return c, fmt.Errorf("read a row of %s: %w", t, err)
	}
	c.Op, c.Unchanged = change.Update, nil
	for name := range row {
		if !slices.Contains(untouched, name) && !slices.Contains(t.Key, name) {
			delete(row, name)
			c.Unchanged = append(c.Unchanged, name)
		}
	}
	slices.Sort(c.Unchanged)
	var err error
	if c.New, err = json.Marshal(row); err != nil {
		return c, fmt.Errorf("write a row of %s: %w", t, err)
	}
	return c, nil
}

func landedAt(now db.SnapshotStreamRow) string {
	if now.Mode == wal.Mode {
		return now.Lsn
	}
	return ""
}

// finish ends a snapshot with a sweep: rows without any change since the snapshot began no longer exist.
func (r *runner) finish(ctx context.Context, queries *db.Queries, s db.SnapshotNextRow, t table.Table) ([]change.Change, error) {
	count, err := queries.SnapshotFinish(ctx, db.SnapshotFinishParams{ID: s.ID, Chunks: s.Chunks, State: Complete})
	if err != nil {
		return nil, fmt.Errorf("finish the snapshot: %w", err)
	}
	if count == 0 {
		return nil, errAgain
	}
	return []change.Change{{
		Op: change.Sweep, Schema: t.Schema, Table: t.Name, Snapshot: true, Consumer: s.Consumer, CommittedAt: r.Clock.Now().UTC(),
		Old: json.RawMessage(`{"position": ` + strconv.FormatInt(s.After, 10) + `}`),
	}}, nil
}

// version returns the schema version of the table's columns. If the columns have changed, it creates a new version.
func version(ctx context.Context, queries *db.Queries, streamID int32, head int64, t table.Table) (int, error) {
	columns, err := json.Marshal(t.Columns)
	if err != nil {
		return 0, fmt.Errorf("write the columns of %s: %w", t, err)
	}
	last, err := queries.SchemaVersionLast(ctx, streamID)
	if err != nil {
		return 0, fmt.Errorf("read schema versions: %w", err)
	}
	number := int32(1)
	for _, v := range last {
		if v.SchemaName != t.Schema || v.TableName != t.Name {
			continue
		}
		if v.Columns == string(columns) {
			return int(v.Version), nil
		}
		number = v.Version + 1
	}
	_, err = queries.SchemaVersionInsert(ctx, db.SchemaVersionInsertParams{
		StreamID: streamID, SchemaName: t.Schema, TableName: t.Name, Version: number, Position: head + 1, Columns: columns,
	})
	if err != nil {
		return 0, fmt.Errorf("record a schema version: %w", err)
	}
	return int(number), nil
}
