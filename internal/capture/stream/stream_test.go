package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/log"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type testBundle struct {
	*pgtest.DB
}

// setup starts a cluster for this test, with logical decoding.
func setup(t *testing.T) *testBundle {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "max_prepared_transactions": "5", "wal_sender_timeout": "5s"})
	return &testBundle{DB: pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})}
}

// owner returns an owner whose URL has a parameter of Prisma and a trailing newline.
func (b *testBundle) owner(name, mode string) stream.Owner {
	return stream.Owner{
		DB: b.DB.DB, Source: b.DB.DB, SourceURL: b.URL + "&pool_timeout=0\n", Name: name, Mode: mode, Tables: []string{"app"}, Process: "a test",
		Beat: 200 * time.Millisecond, Look: 200 * time.Millisecond, Poll: 5 * time.Millisecond,
	}
}

// start runs an owner until the test ends or stop is called. It returns when the owner reads.
func (b *testBundle) start(t *testing.T, owner stream.Owner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- owner.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}
	t.Cleanup(stop)
	b.wait(t, "SELECT state = 'running' AND beat_at IS NOT NULL FROM capture.stream WHERE name = $1", owner.Name)
	return stop
}

// wait waits until a query returns true.
func (b *testBundle) wait(t *testing.T, sql string, args ...any) {
	t.Helper()
	var is bool
	if !waitFor(t.Context(), func() bool {
		err := b.QueryRow(t.Context(), sql, args...).Scan(&is)
		if !errors.Is(err, pgx.ErrNoRows) {
			require.NoError(t, err)
		}
		return is
	}) {
		rows, err := b.Query(context.WithoutCancel(t.Context()), "SELECT row_to_json(s)::text FROM capture.stream AS s UNION ALL SELECT row_to_json(g)::text FROM capture.gap AS g")
		require.NoError(t, err)
		states, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Fail(t, "the condition did not become true", "%s\n%v\n%v", sql, args, states)
	}
}

// waitFor waits for a condition, at most a minute, which is far more than it needs.
func waitFor(ctx context.Context, condition func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

// running waits until the stream has this many gaps and reads again: changes that are written earlier belong to the last gap.
func (b *testBundle) running(t *testing.T, gaps int) {
	t.Helper()
	b.wait(t, "SELECT s.state = 'running' AND (SELECT count(*) FROM capture.gap) = $1 FROM capture.stream AS s", gaps)
}

// mark inserts a last row, and waits until the streams have it.
func (b *testBundle) mark(t *testing.T, streams ...string) {
	t.Helper()
	var id int
	require.NoError(t, b.QueryRow(t.Context(), "INSERT INTO app.marker DEFAULT VALUES RETURNING id").Scan(&id))
	for _, name := range streams {
		b.wait(t, `SELECT EXISTS (SELECT FROM capture.log AS l INNER JOIN capture.stream AS s ON s.id = l.stream_id
			WHERE s.name = $1 AND l.table_name = 'marker' AND l.new ->> 'id' = $2)`, name, strconv.Itoa(id))
	}
}

// events returns the changes of a stream, one per line, without the values that always differ between streams: position, lsn and the
// time of the commit. It leaves out the columns in unchanged.
func (b *testBundle) events(t *testing.T, name string, unchanged map[string][]string) []string {
	t.Helper()
	rows, err := b.Query(t.Context(), `
		SELECT l.op, l.schema_name || '.' || l.table_name AS name, coalesce(l.key::text, '-'), coalesce(l.old::jsonb::text, '-'), coalesce((l.new::jsonb)::text, '-'),
			coalesce(l.unchanged, '{}'), l.key_changed, l.xid, l.ordinal, l.schema_version, l.key_hash
		FROM capture.log AS l INNER JOIN capture.stream AS s ON s.id = l.stream_id WHERE s.name = $1 ORDER BY l.position`, name)
	require.NoError(t, err)
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var op, table, key, before, after string
		var missing []string
		var changed bool
		var xid, ordinal, version int64
		var hash *int32
		require.NoError(t, rows.Scan(&op, &table, &key, &before, &after, &missing, &changed, &xid, &ordinal, &version, &hash))
		of := int32(0)
		if hash != nil {
			of = *hash
		}
		id := fmt.Sprint(xid, " ", ordinal)
		if len(missing) > 0 {
			unchanged[id] = missing
		}
		for _, column := range unchanged[id] {
			require.NoError(t, b.QueryRow(t.Context(), "SELECT ($1::jsonb - $2::text)::text", after, column).Scan(&after))
		}
		lines = append(lines, fmt.Sprintf("%s %s v%d %s key=%s hash=%d changed=%t\n  old=%s\n  new=%s", id, op, version, table, key, of, changed, before, after))
	}
	require.NoError(t, rows.Err())
	return lines
}

func (b *testBundle) gaps(t *testing.T, name string) []string {
	t.Helper()
	rows, err := b.Query(t.Context(), "SELECT g.kind || ' ' || array_to_string(g.tables, ',') FROM capture.gap AS g INNER JOIN capture.stream AS s ON s.id = g.stream_id WHERE s.name = $1 ORDER BY g.id", name)
	require.NoError(t, err)
	gaps, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return gaps
}

// has reports whether the log has a change of a row of app.t.
func (b *testBundle) has(t *testing.T, id int) bool {
	t.Helper()
	var is bool
	require.NoError(t, b.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM capture.log AS l INNER JOIN capture.stream AS s ON s.id = l.stream_id
		WHERE s.name = 'app' AND l.table_name = 't' AND l.key ->> 'id' = $1)`, strconv.Itoa(id)).Scan(&is))
	return is
}

const simple = `
	CREATE SCHEMA app;
	CREATE TABLE app.marker (id serial PRIMARY KEY);
	CREATE TABLE app.t (id integer PRIMARY KEY, v text)`

// TestOwner: in both modes, a second process waits, and continues where the first one stopped.
func TestOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		stop := b.start(t, b.owner(mode, mode))
		b.Do(t, "INSERT INTO app.t VALUES (1, 'a')")
		b.mark(t, mode)
		second := b.owner(mode, mode)
		second.Process = "the second"
		_, err := log.Take(t.Context(), log.Config{DB: b.DB.DB, Stream: mode})
		require.ErrorIs(t, err, log.ErrTaken)
		stop()
		b.Do(t, "INSERT INTO app.t VALUES (2, 'b')")
		b.start(t, second)
		b.mark(t, mode)
		lines := b.events(t, mode, map[string][]string{})
		require.Len(t, lines, 4)
		require.Empty(t, b.gaps(t, mode))
		b.Do(t, "DELETE FROM app.t")
	}
}

// TestWAL_Guard: a slot that holds back too much WAL is dropped, and the gap is recorded.
func TestWAL_Guard(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	owner := b.owner("app", stream.ModeWAL)
	stop := b.start(t, owner)
	b.wait(t, "SELECT coalesce(warn_at = 1 << 30 AND drop_at = 10 * (1 << 30)::bigint, false) FROM capture.stream")
	b.Do(t, "ALTER SYSTEM SET max_slot_wal_keep_size = '1GB'")
	b.Do(t, "SELECT pg_reload_conf()")
	b.wait(t, "SELECT warn_at = 1 << 28 AND drop_at = 1 << 29 FROM capture.stream") // It warns before it drops the slot.
	stop()
	owner.Limit = 1
	b.start(t, owner)
	b.wait(t, "SELECT count(*) > 0 FROM capture.gap WHERE kind = 'guard'")
	b.wait(t, "SELECT warn_at = 0 AND drop_at = 1 FROM capture.stream")
}

// TestWAL_Large: a transaction that is larger than a batch lands completely and once, also if the reader stops in the middle.
func TestWAL_Large(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	stop := b.start(t, b.owner("app", stream.ModeWAL))
	const rows = 100_000
	b.Do(t, "INSERT INTO app.t SELECT g, 'v' FROM generate_series(1, $1::integer) AS g", rows)
	b.wait(t, "SELECT position > 0 FROM capture.stream")
	stop()
	b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	var count, distinct, last int
	require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*), count(DISTINCT key ->> 'id'), max(ordinal) FROM capture.log WHERE table_name = 't'").Scan(&count, &distinct, &last))
	require.Equal(t, []int{rows, rows, rows}, []int{count, distinct, last})
}

// TestTrigger_Late: a transaction that commits long after later ones is not skipped, and does not block the application.
func TestTrigger_Late(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	b.start(t, b.owner("app", stream.ModeTrigger))
	tx, err := b.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "INSERT INTO app.t VALUES (1, 'late')")
	require.NoError(t, err)
	b.Do(t, "INSERT INTO app.t VALUES (2, 'early')")
	b.mark(t, "app")
	require.False(t, b.has(t, 1))
	require.NoError(t, tx.Commit(t.Context()))
	b.mark(t, "app")
	require.True(t, b.has(t, 1))
	require.Len(t, b.events(t, "app", map[string][]string{}), 4)
}

// TestTrigger_Gap: changes that the queue may lack are a gap, and no statement of the application fails because of it.
func TestTrigger_Gap(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	stop := b.start(t, b.owner("app", stream.ModeTrigger))
	b.mark(t, "app")
	b.Do(t, "TRUNCATE daymill_capture.queue_0")
	b.running(t, 1)
	b.Do(t, "ALTER TABLE app.t DISABLE TRIGGER USER")
	b.running(t, 2)
	b.wait(t, "SELECT bool_and(tgenabled = 'A') FROM pg_trigger WHERE tgrelid = 'app.t'::regclass") // The gap was recorded before that.
	stop()
	b.Do(t, "ALTER TABLE daymill_capture.queue_0 RENAME TO away; ALTER TABLE daymill_capture.queue_1 RENAME TO away_1")
	b.Do(t, "INSERT INTO app.t VALUES (1)")
	b.Do(t, "ALTER TABLE daymill_capture.away RENAME TO queue_0; ALTER TABLE daymill_capture.away_1 RENAME TO queue_1")
	stop = b.start(t, b.owner("app", stream.ModeTrigger))
	b.running(t, 3)
	stop()
	b.Do(t, "UPDATE capture.stream SET seen = '4000000000:4000000000:'") // As if the source were older than what was read.
	b.start(t, b.owner("app", stream.ModeTrigger))
	b.running(t, 4)
	require.Equal(t, []string{"queue ", "queue app.t", "queue ", "restore "}, b.gaps(t, "app"))
	b.mark(t, "app")
}

// TestTrigger_Lock: a table that the application has locked for a long time gets its triggers later, and changes of other tables continue to land.
func TestTrigger_Lock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	b.start(t, b.owner("app", stream.ModeTrigger))
	tx, err := b.Begin(t.Context())
	require.NoError(t, err)
	b.Do(t, "CREATE TABLE app.late (id integer PRIMARY KEY)")
	_, err = tx.Exec(t.Context(), "LOCK TABLE app.late IN ROW EXCLUSIVE MODE")
	require.NoError(t, err)
	b.wait(t, "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'app.late'::regclass AND NOT granted)")     // It tries,
	b.wait(t, "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'app.late'::regclass AND NOT granted)") // and gives up.
	b.mark(t, "app")
	require.NoError(t, tx.Commit(t.Context()))
	b.wait(t, "SELECT count(*) = 4 FROM pg_trigger WHERE tgrelid = 'app.late'::regclass")
	b.wait(t, "SELECT state = 'running' AND token = 1 FROM capture.stream")
}

// TestTrigger_Rotate: a queue that has grown is put to rest, and emptied when no transaction that wrote to it is open. Nothing is lost,
// and it is not a gap.
func TestTrigger_Rotate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	b.start(t, b.owner("app", stream.ModeTrigger))
	late, err := b.Begin(t.Context())
	require.NoError(t, err)
	_, err = late.Exec(t.Context(), "INSERT INTO app.t VALUES (0)")
	require.NoError(t, err)
	const rows = 20_000
	b.Do(t, "INSERT INTO app.t SELECT g, repeat('x', 500) FROM generate_series(1, $1::integer) AS g", rows)
	b.wait(t, "SELECT active = 1 FROM daymill_capture.control")
	b.Do(t, "INSERT INTO app.t SELECT g, repeat('x', 500) FROM generate_series($1::integer + 1, 2 * $1) AS g", rows)
	b.mark(t, "app")
	var size int64
	require.NoError(t, b.QueryRow(t.Context(), "SELECT pg_relation_size('daymill_capture.queue_0')").Scan(&size))
	require.Positive(t, size, "a transaction that wrote to it is open")
	require.NoError(t, late.Commit(t.Context()))
	b.wait(t, "SELECT pg_relation_size('daymill_capture.queue_0') = 0 FROM daymill_capture.control")
	b.mark(t, "app")
	var count, distinct int
	require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*), count(DISTINCT key ->> 'id') FROM capture.log WHERE table_name = 't'").Scan(&count, &distinct))
	require.Equal(t, []int{2*rows + 1, 2*rows + 1}, []int{count, distinct})
	require.Empty(t, b.gaps(t, "app"))
}

// TestTrigger_Two: two streams that read one database by triggers do not disturb each other.
func TestTrigger_Two(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	b.start(t, b.owner("t", stream.ModeTrigger))
	stop := b.start(t, b.owner("u", stream.ModeTrigger))
	b.Do(t, "INSERT INTO app.t VALUES (1, 'a')")
	b.mark(t, "t", "u")
	stop()
	b.Do(t, "UPDATE app.t SET v = 'b'")
	b.mark(t, "t")
	require.Empty(t, b.gaps(t, "t"))
	b.start(t, b.owner("u", stream.ModeTrigger))
	b.mark(t, "t", "u")
	require.Empty(t, b.gaps(t, "u"))
	require.Equal(t, b.events(t, "t", map[string][]string{}), b.events(t, "u", map[string][]string{}))
}

// TestWAL_GuardUnowned: a slot that nobody can read is also dropped before it fills the disk, and the gap is recorded.
func TestWAL_GuardUnowned(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	b.start(t, b.owner("w", stream.ModeWAL))()
	owner := b.owner("w", stream.ModeWAL)
	owner.SourceURL, owner.Limit = "postgres://127.0.0.1:1/nowhere", 1<<20
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- owner.Run(ctx) }()
	b.Do(t, "INSERT INTO app.t SELECT i, repeat('x', 100) FROM generate_series(1, 20000) AS i")
	b.wait(t, "SELECT NOT EXISTS (SELECT FROM pg_replication_slots)")
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Equal(t, []string{"guard "}, b.gaps(t, "w"))
}

// TestWAL_KeyAndTOAST: when an update changes the key, the insert that it becomes has the values that are stored out of line and that
// the update did not touch, because a sink makes a new row of it.
func TestWAL_KeyAndTOAST(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple+"; ALTER TABLE app.t ALTER v SET STORAGE EXTERNAL; INSERT INTO app.t VALUES (1, repeat('x', 6000))")
	b.start(t, b.owner("w", stream.ModeWAL))
	b.Do(t, "UPDATE app.t SET id = 2")
	b.mark(t, "w")
	unchanged := map[string][]string{}
	events := b.events(t, "w", unchanged)
	require.Contains(t, events[1], "xxxxxx")
	require.Empty(t, unchanged)
}

// TestWAL_Dropped: changes of a table that was dropped before they are read have its columns, with their types and the version that
// they had, because a sink makes a table of them.
func TestWAL_Dropped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple+"; CREATE TABLE app.gone (id integer PRIMARY KEY, price numeric(10, 2), tags text[]); CREATE TABLE app.known (id integer PRIMARY KEY)")
	stop := b.start(t, b.owner("app", stream.ModeWAL))
	b.Do(t, "INSERT INTO app.known VALUES (1)")
	b.mark(t, "app")
	stop()
	b.Do(t, "INSERT INTO app.gone VALUES (1, 1.5, '{a}'); INSERT INTO app.known VALUES (2); DROP TABLE app.gone, app.known")
	b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	var columns string
	require.NoError(t, b.QueryRow(t.Context(), "SELECT columns::text FROM capture.schema_version WHERE table_name = 'gone'").Scan(&columns))
	require.JSONEq(t, `[{"name": "id", "type": "integer", "number": 0}, {"name": "price", "type": "numeric(10,2)", "number": 0}, {"name": "tags", "type": "text[]", "number": 0}]`, columns)
	b.wait(t, "SELECT count(*) = 2 AND max(schema_version) = 1 FROM capture.log WHERE table_name = 'known'")
}

// TestWAL_Altered: a table that is altered between two changes which are read together has two versions, and both are recorded: a sink that receives
// the first change makes a table of its columns.
func TestWAL_Altered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple+"; CREATE TABLE app.altered (id integer PRIMARY KEY, price numeric(10, 2))")
	stop := b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	stop()
	b.Do(t, `BEGIN; INSERT INTO app.altered VALUES (1); ALTER TABLE app.altered ADD COLUMN tags text[]; INSERT INTO app.altered VALUES (2);
		ALTER TABLE app.altered ADD COLUMN more integer; INSERT INTO app.altered VALUES (3); COMMIT`)
	b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	rows, err := b.Query(t.Context(), `
		SELECT l.schema_version || ' ' || coalesce((SELECT string_agg(c ->> 'name', ', ') FROM json_array_elements(v.columns) AS c), 'not recorded')
		FROM capture.log AS l LEFT JOIN capture.schema_version AS v ON v.stream_id = l.stream_id AND v.schema_name = l.schema_name
			AND v.table_name = l.table_name AND v.version = l.schema_version
		WHERE l.table_name = 'altered' ORDER BY l.position`)
	require.NoError(t, err)
	versions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"1 id, price", "2 id, price, tags", "3 id, price, tags, more"}, versions)
}

// TestWAL_VersionOfSnapshot: a snapshot that sees a table's columns before the owner does may record its version first. If these columns are others
// than those of the next change, the change has a version of its own.
func TestWAL_VersionOfSnapshot(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple+"; CREATE TABLE app.seen (id integer PRIMARY KEY)")
	b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	b.Do(t, `INSERT INTO capture.schema_version (stream_id, schema_name, table_name, version, position, columns)
		SELECT id, 'app', 'seen', 1, position + 1, '[{"name": "other", "type": "text", "number": 1}]' FROM capture.stream;
		INSERT INTO app.seen VALUES (1)`)
	b.mark(t, "app")
	var version int
	require.NoError(t, b.QueryRow(t.Context(), "SELECT schema_version FROM capture.log WHERE table_name = 'seen'").Scan(&version))
	require.Equal(t, 2, version)
	var columns string
	require.NoError(t, b.QueryRow(t.Context(), "SELECT columns::text FROM capture.schema_version WHERE table_name = 'seen' AND version = 2").Scan(&columns))
	require.Contains(t, columns, `"id"`)
}

// TestOwner_Lock: while another session holds the stream's row for longer than a lock timeout, as a snapshot does when it appends a
// chunk on a busy server, the owner waits and keeps the stream.
func TestOwner_Lock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: b.URL, LockTimeout: 100 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		owner := b.owner(mode, mode)
		owner.DB = db
		b.start(t, owner)
		tx, err := b.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "SELECT FROM capture.stream WHERE name = $1 FOR UPDATE", mode)
		require.NoError(t, err)
		b.Do(t, "INSERT INTO app.t SELECT 1 + coalesce(max(id), 0) FROM app.t")
		const waits = " FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
		b.wait(t, "SELECT count(*) > 0"+waits)
		var since time.Time
		require.NoError(t, b.QueryRow(t.Context(), "SELECT min(query_start)"+waits).Scan(&since))
		b.wait(t, "SELECT count(*) > 0"+waits+" AND query_start > $1::timestamptz + interval '0.5 seconds'", since) // It has timed out once.
		require.NoError(t, tx.Commit(t.Context()))
		b.mark(t, mode)
		var token int
		require.NoError(t, b.QueryRow(t.Context(), "SELECT token FROM capture.stream WHERE name = $1", mode).Scan(&token))
		require.Equal(t, 1, token)
	}
}

// TestWAL_DroppedKey: changes of a table that was dropped, and maybe created again, have the key that they had before, even if its
// replica identity is full.
func TestWAL_DroppedKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const whole = "CREATE TABLE app.whole (id integer PRIMARY KEY, v text); ALTER TABLE app.whole REPLICA IDENTITY FULL"
	b.Do(t, simple+"; "+whole)
	stop := b.start(t, b.owner("app", stream.ModeWAL))
	stop()
	b.Do(t, "INSERT INTO app.whole VALUES (1, 'a'); UPDATE app.whole SET v = 'b'; DROP TABLE app.whole; "+whole)
	b.start(t, b.owner("app", stream.ModeWAL))
	b.mark(t, "app")
	rows, err := b.Query(t.Context(), "SELECT DISTINCT key::text FROM capture.log WHERE table_name = 'whole'")
	require.NoError(t, err)
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{`{"id": 1}`}, keys)
}
