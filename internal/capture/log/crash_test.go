package log_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestAppend_Crash: positions that a snapshot has given out, and that consumers may have delivered, must not be given out again
// after a crash of Postgres, also if the database has synchronous_commit = off (as the server of the tests has).
func TestAppend_Crash(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_writer_delay": "10s"})
	db := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b := &testBundle{DB: db}
	b.writer = b.take(t, "one")
	require.NoError(t, b.writer.Land(t.Context(), rows(3), log.Mark{}))
	require.NoError(t, log.Append(t.Context(), b.DB.DB, "app", func(pgx.Tx, int64) ([]change.Change, error) { return rows(5), nil }))
	changes, upTo := b.read(t, log.Query{Shards: 1, Limit: 100}) // A consumer sees them, and delivers them to another system.
	require.Len(t, changes, 8)
	require.Equal(t, int64(8), upTo)
	ctx := context.WithoutCancel(t.Context())
	require.NoError(t, server.Stop(ctx, pgserver.Immediate))
	require.NoError(t, server.Start(ctx))
	b.DB.DB.Reset()
	head, err := log.Log{}.Head(t.Context(), b.DB.DB, "app")
	require.NoError(t, err)
	require.Equal(t, int64(8), head, "positions 4 to 8 will be given to other changes")
}

// TestRead_Wide: of wide rows, the server sends about as many as fit into a batch, and not as many as the batch may have.
func TestRead_Wide(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	w, err := log.Take(t.Context(), log.Config{DB: db.DB, Stream: "app", Owner: "o"})
	require.NoError(t, err)
	body, err := json.Marshal(map[string]any{"id": 1, "body": strings.Repeat("x", 1<<20)})
	require.NoError(t, err)
	one := rows(1)
	one[0].Old, one[0].New = nil, body
	require.NoError(t, w.Land(t.Context(), one, log.Mark{}))
	db.Do(t, `INSERT INTO capture.log SELECT l.stream_id, l.position + g, l.op, l.schema_name, l.table_name, l.key_hash, l.key, l.old, l.new, l.unchanged, l.key_changed, l.snapshot,
		l.xid, l.lsn, l.ordinal, l.committed_at, l.schema_version, l.consumer, l.looked_up FROM capture.log AS l, generate_series(1, 199) AS g`)
	db.Do(t, "UPDATE capture.stream SET position = 200")
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: db.URL})
	require.NoError(t, err)
	defer pool.Close()
	sent := limits{DBTX: pool}
	changes, upTo, err := log.Log{}.Read(t.Context(), &sent, log.Query{Stream: "app", Shards: 1, Limit: 2000})
	require.NoError(t, err)
	require.Len(t, changes, 8)
	require.Equal(t, changes[len(changes)-1].Position, upTo)
	require.Equal(t, []int{50}, sent.asked)

	// Narrow rows: all that a batch may have.
	db.Do(t, "TRUNCATE capture.log; UPDATE capture.stream SET position = 0")
	require.NoError(t, w.Land(t.Context(), rows(300), log.Mark{}))
	sent.asked = nil
	changes, _, err = log.Log{}.Read(t.Context(), &sent, log.Query{Stream: "app", Shards: 1, Limit: 200})
	require.NoError(t, err)
	require.Len(t, changes, 200)
	require.Equal(t, []int{50, 150}, sent.asked)
}

// limits notes how many changes each statement asks for.
type limits struct {
	postgres.DBTX

	asked []int
}

func (l *limits) Query(ctx context.Context, sql string, arguments ...any) (pgx.Rows, error) {
	if strings.Contains(sql, "FROM capture.log") {
		l.asked = append(l.asked, arguments[6].(int))
	}
	return l.DBTX.Query(ctx, sql, arguments...)
}
