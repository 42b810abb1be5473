package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/log"
	sink "github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/capture/snapshot"
	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type testBundle struct {
	*pgtest.DB

	mode string
	stop func() // ends the owner
}

// setup creates a table with rows that is not captured yet.
func setup(t *testing.T, mode string) *testBundle {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"wal_level": "logical", "synchronous_commit": "on", "log_statement": "all"})
	b := &testBundle{DB: pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"}), mode: mode}
	b.Do(t, `CREATE SCHEMA app;
		CREATE TABLE app.item (id integer, part text, n numeric, body text, twice numeric GENERATED ALWAYS AS (n * 2) STORED, PRIMARY KEY (part, id));
		CREATE TABLE app.bare (a integer, b text); ALTER TABLE app.bare REPLICA IDENTITY FULL;
		INSERT INTO app.item SELECT i, chr(97 + i % 3) || '"''', i / 7.0, repeat('x', i % 50) FROM generate_series(1, 2000) AS i;
		INSERT INTO app.bare SELECT i, 'b' FROM generate_series(1, 300) AS i`)
	return b
}

// own starts an owner of the stream.
func (b *testBundle) own(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	owner := stream.Owner{
		DB: b.DB.DB, Source: b.DB.DB, SourceURL: b.URL, Name: "app", Mode: b.mode, Process: "a test",
		Beat: 200 * time.Millisecond, Look: 200 * time.Millisecond, Poll: 5 * time.Millisecond,
	}
	go func() {
		defer close(done)
		_ = owner.Run(ctx)
	}()
	b.stop = func() { cancel(); <-done }
	t.Cleanup(b.stop)
	b.wait(t, "SELECT state = 'running' AND followed = tables || view_tables FROM capture.stream")
}

func (b *testBundle) configure(t *testing.T, patterns ...string) {
	t.Helper()
	require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error {
		return stream.Configure(t.Context(), tx, stream.Config{Name: "app", URL: "$DATABASE_URL", Tables: patterns}, audit.Who{Via: audit.ViaCLI})
	}))
}

// wait waits until a query returns true.
func (b *testBundle) wait(t *testing.T, sql string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var is *bool
		err := b.QueryRow(t.Context(), sql).Scan(&is)
		return err == nil && is != nil && *is
	}, time.Minute, 10*time.Millisecond, sql)
}

// consumer creates a consumer that begins at the end of the log.
func (b *testBundle) consumer(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error {
		var head int64
		if err := tx.QueryRow(t.Context(), "SELECT coalesce(max(position), 0) FROM capture.stream").Scan(&head); err != nil {
			return err
		}
		return consumer.Create(t.Context(), tx, consumer.Consumer{Name: name, Stream: "app", Kind: "postgres"}, head, audit.Who{Via: audit.ViaCLI})
	}))
}

func (b *testBundle) request(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error { return snapshot.Request(t.Context(), tx, "app", name, nil) }))
}

// begin captures tables, and requests their snapshot for the consumer copy.
func (b *testBundle) begin(t *testing.T, pattern string) {
	t.Helper()
	b.configure(t, pattern)
	b.own(t)
	b.consumer(t, "copy")
	b.request(t, "copy")
}

func (b *testBundle) run(ctx context.Context) error {
	more := true
	var err error
	for more && err == nil {
		more, err = snapshot.Run(ctx, snapshot.Config{DB: b.DB.DB, Source: b.DB.DB, Stream: "app", Rows: 100})
	}
	return err
}

// complete runs snapshots until none is left.
func (b *testBundle) complete(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		_ = b.run(t.Context()) // It fails while the server is down.
		var open int
		err := b.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM capture.snapshot WHERE state IN ('waiting', 'running'))
			+ (SELECT count(*) FROM capture.snapshot_request)`).Scan(&open)
		return err == nil && open == 0
	}, time.Minute, 20*time.Millisecond)
}

type stored struct{ log.Log }

func (s stored) Read(ctx context.Context, on postgres.DBTX, q consumer.Query) ([]change.Change, int64, error) {
	return s.Log.Read(ctx, on, log.Query(q))
}

func (stored) Head(ctx context.Context, on postgres.DBTX, _ string) (head int64, err error) {
	err = on.QueryRow(ctx, "SELECT position FROM capture.stream").Scan(&head)
	return head, err
}

// copyName is the consumer that copies the tables, and the schema of the copies.
const copyName = "copy"

// deliver delivers everything to a schema of the same database.
func (b *testBundle) deliver(t *testing.T) {
	t.Helper()
	c, err := consumer.Get(t.Context(), b.DB.DB, copyName)
	require.NoError(t, err)
	passes, err := filter.New(filter.Config{})
	require.NoError(t, err)
	for {
		result, err := consumer.Run(t.Context(), consumer.Config{
			DB: b.DB.DB, Log: stored{}, Sink: sink.New(sink.Config{DB: b.DB.DB, Schema: copyName}), Filter: passes, Consumer: c, Once: true,
		})
		require.NoError(t, err)
		require.NoError(t, result.Err)
		require.Zero(t, result.Letters)
		if !result.More {
			return
		}
	}
}

// mark waits until everything has landed.
func (b *testBundle) mark(t *testing.T) {
	t.Helper()
	b.Do(t, "DELETE FROM app.item WHERE part = 'mark'; INSERT INTO app.item (part, id) VALUES ('mark', nextval('public.marks'))")
	b.wait(t, `SELECT EXISTS (SELECT FROM capture.log AS l WHERE l.new ->> 'part' = 'mark' AND l.new ->> 'id' = (SELECT last_value::text FROM public.marks))`)
}

func (b *testBundle) requireEqual(t *testing.T) {
	t.Helper()
	for table, columns := range map[string]string{"item": "id, part, n, body", "bare": "a, b"} {
		var missing, over int
		require.NoError(t, b.QueryRow(t.Context(), fmt.Sprintf("SELECT count(*) FROM (SELECT %[1]s FROM app.%[2]s EXCEPT SELECT %[1]s FROM %[3]s.%[2]s) AS x",
			columns, table, copyName)).Scan(&missing))
		require.NoError(t, b.QueryRow(t.Context(), fmt.Sprintf("SELECT count(*) FROM (SELECT %[1]s FROM %[3]s.%[2]s EXCEPT SELECT %[1]s FROM app.%[2]s) AS x",
			columns, table, copyName)).Scan(&over))
		require.Equal(t, []int{0, 0}, []int{missing, over}, "missing rows, and rows that should not exist, of %s", table)
	}
}

// work changes random rows until ctx is done.
func (b *testBundle) work(ctx context.Context, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	for ctx.Err() == nil {
		id := random.IntN(2500)
		part := string(rune('a'+random.IntN(3))) + `"'`
		var err error
		switch random.IntN(6) {
		case 0:
			_, err = b.Exec(ctx, "INSERT INTO app.item (id, part, n, body) VALUES ($1, $2, $3, 'new') ON CONFLICT DO NOTHING", id, part, random.IntN(100))
		case 1:
			_, err = b.Exec(ctx, "DELETE FROM app.item WHERE id = $1", id)
		case 2:
			_, err = b.Exec(ctx, "UPDATE app.item SET id = id + 10000 WHERE id = $1", id)
		case 3:
			_, err = b.Exec(ctx, "UPDATE app.bare SET a = a + 1 WHERE a % 50 = $1", id%50)
		default:
			_, err = b.Exec(ctx, "UPDATE app.item SET n = n + 1 WHERE id BETWEEN $1 AND $1 + 5", id)
		}
		if err != nil && ctx.Err() == nil && (postgres.IsUnreachable(err) || postgres.Code(err) != "") {
			continue // The server is down for a moment, or the key is taken.
		}
	}
}

func inModes(t *testing.T, test func(t *testing.T, mode string)) {
	t.Helper()
	for _, mode := range []string{stream.ModeTrigger, stream.ModeWAL} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			test(t, mode)
		})
	}
}

// TestRun: rows change at random while a snapshot reads them. The snapshot is interrupted again and again, and Postgres is killed in the
// middle. At the end the copy equals the source, and no other consumer has received anything of the snapshot.
func TestRun(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, mode string) {
		b := setup(t, mode)
		b.Do(t, "CREATE SEQUENCE public.marks")
		b.configure(t, "app")
		b.own(t)
		b.consumer(t, "copy")
		b.consumer(t, "other")
		b.request(t, "copy")
		work, done := context.WithCancel(t.Context())
		defer done()
		var workers sync.WaitGroup
		for i := range 3 {
			workers.Go(func() { b.work(work, uint64(i)) })
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 6 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(150))*time.Millisecond)
			err := b.run(ctx)
			cancel()
			require.True(t, err == nil || errors.Is(err, context.DeadlineExceeded), err)
		}
		require.NoError(t, b.Server.Stop(t.Context(), pgserver.Immediate))
		require.NoError(t, b.Server.Start(t.Context()))
		b.complete(t)
		done()
		workers.Wait()
		b.mark(t)
		b.deliver(t)
		b.requireEqual(t)
		var others int
		require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*) FROM capture.log WHERE snapshot AND consumer IS DISTINCT FROM 'copy'").Scan(&others))
		require.Zero(t, others)
		changes, _, err := log.Log{}.Read(t.Context(), b.DB.DB, log.Query{Stream: "app", Limit: 100_000, Consumer: "other"})
		require.NoError(t, err)
		for _, c := range changes {
			require.False(t, c.Snapshot)
		}
		list, err := snapshot.List(t.Context(), b.DB.DB, "app", "copy")
		require.NoError(t, err)
		require.Len(t, list, 2)
		for _, s := range list {
			require.Equal(t, snapshot.Complete, s.State)
			require.Positive(t, s.Rows)
		}
	})
}

// TestRun_Gap: when a slot or a queue is lost, a snapshot repairs the gap: the copy has everything that was changed, inserted and deleted
// in the meantime, and the gap says when it was repaired.
func TestRun_Gap(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, mode string) {
		b := setup(t, mode)
		b.Do(t, "CREATE SEQUENCE public.marks")
		b.begin(t, "app")
		b.complete(t)
		b.deliver(t)
		b.requireEqual(t)
		b.stop()
		if mode == stream.ModeWAL {
			b.wait(t, "SELECT bool_and(NOT active) FROM pg_replication_slots") // Postgres notices a closed connection a moment later.
			b.Do(t, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
		} else {
			b.Do(t, "TRUNCATE daymill_capture.queue_0")
		}
		b.Do(t, "UPDATE app.item SET n = -1 WHERE id < 500; DELETE FROM app.item WHERE id > 1500; DELETE FROM app.bare WHERE a < 100; INSERT INTO app.item (id, part) VALUES (9999, 'z')")
		if mode == stream.ModeTrigger { // The queue also had these rows.
			b.Do(t, "TRUNCATE daymill_capture.queue_0")
		}
		b.own(t)
		b.wait(t, "SELECT s.state = 'running' AND (SELECT count(*) FROM capture.gap AS g WHERE g.repaired_at IS NULL) = 1 FROM capture.stream AS s")
		b.complete(t)
		b.mark(t)
		b.deliver(t)
		b.requireEqual(t)
		b.wait(t, "SELECT count(*) = 1 FROM capture.gap WHERE repaired_at IS NOT NULL")
		if mode == stream.ModeWAL {
			b.left(t)
		}
	})
}

// left: a consumer that is resumed after the log has forgotten changes that it has not received gets a snapshot, and lacks nothing.
func (b *testBundle) left(t *testing.T) {
	t.Helper()
	do := func(do func(tx pgx.Tx) error) { require.NoError(t, b.Tx(t.Context(), do)) }
	who := audit.Who{Via: audit.ViaCLI}
	do(func(tx pgx.Tx) error { return consumer.Pause(t.Context(), tx, copyName, "", who) })
	b.Do(t, "UPDATE app.item SET n = -2 WHERE id < 100; DELETE FROM app.item WHERE id BETWEEN 200 AND 300; INSERT INTO app.item (id, part) VALUES (7777, 'z')")
	b.mark(t)
	b.Do(t, "UPDATE capture.stream SET forgotten = position") // As if the log had dropped these changes.
	b.Do(t, "UPDATE app.item SET n = -3 WHERE id < 50")
	is, err := consumer.Left(t.Context(), b.DB.DB, copyName)
	require.NoError(t, err)
	require.True(t, is)
	do(func(tx pgx.Tx) error { return consumer.Resume(t.Context(), tx, copyName, who) })
	is, err = consumer.Left(t.Context(), b.DB.DB, copyName)
	require.NoError(t, err)
	require.False(t, is)
	b.complete(t)
	b.mark(t)
	b.deliver(t)
	b.requireEqual(t)
}

// TestRun_NewTable: a new table that matches a pattern may have rows before it is captured. All consumers receive them.
func TestRun_NewTable(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, mode string) {
		b := setup(t, mode)
		b.configure(t, "app")
		b.Do(t, "UPDATE capture.stream SET view_tables = '{app.item}'") // A view reads the same stream.
		b.own(t)
		b.Do(t, "CREATE TABLE app.fresh (id integer PRIMARY KEY); INSERT INTO app.fresh SELECT generate_series(1, 50)")
		b.wait(t, "SELECT count(*) = 1 FROM capture.snapshot_request")
		b.complete(t)
		var rows int
		require.NoError(t, b.QueryRow(t.Context(), "SELECT count(DISTINCT new ->> 'id') FROM capture.log WHERE table_name = 'fresh' AND consumer IS NULL AND op = 'insert'").Scan(&rows))
		require.Equal(t, 50, rows)
		var others int
		require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*) FROM capture.snapshot WHERE table_name <> 'fresh'").Scan(&others))
		require.Zero(t, others)
	})
}

// TestPause: a paused snapshot does not continue, a restarted one begins again, and a canceled one ends.
func TestPause(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeWAL)
	b.begin(t, "app.item")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.run(ctx) }()
	b.wait(t, "SELECT chunks > 2 FROM capture.snapshot")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	get := func() snapshot.Snapshot {
		list, err := snapshot.List(t.Context(), b.DB.DB, "", "")
		require.NoError(t, err)
		require.Len(t, list, 1)
		return list[0]
	}
	change := func(do func(ctx context.Context, tx pgx.Tx, id int64, who audit.Who) error) {
		id := get().ID
		require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error { return do(t.Context(), tx, id, audit.Who{Via: audit.ViaCLI}) }))
	}
	begun := get()
	require.Equal(t, snapshot.Running, begun.State)
	require.Positive(t, begun.Estimate+1)
	change(snapshot.Pause)
	require.NoError(t, b.run(t.Context()))
	require.Equal(t, begun.Rows, get().Rows)
	change(snapshot.Resume)
	require.Equal(t, snapshot.Running, get().State)
	change(snapshot.Restart)
	require.Equal(t, []any{snapshot.Waiting, int64(0)}, []any{get().State, get().Rows})
	require.NoError(t, b.run(t.Context()))
	require.Equal(t, []any{snapshot.Complete, int64(2000)}, []any{get().State, get().Rows})
	err := b.Tx(t.Context(), func(tx pgx.Tx) error { return snapshot.Cancel(t.Context(), tx, get().ID, audit.Who{Via: audit.ViaCLI}) })
	require.ErrorIs(t, err, snapshot.ErrNone)
}

// TestCast: a snapshot reads with Daymill's rights, so it calls nothing that the owner of a type has written: no cast, and no CHECK of
// a domain.
func TestCast(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeWAL)
	b.Do(t, `CREATE TABLE public.loot (who text); GRANT ALL ON public.loot TO PUBLIC;
		CREATE ROLE guest_of_snapshots; GRANT ALL ON SCHEMA app TO guest_of_snapshots; SET ROLE guest_of_snapshots;
		CREATE TYPE app.mood AS ENUM ('good', 'evil');
		CREATE FUNCTION app.steal() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
			IF current_user <> 'guest_of_snapshots' THEN INSERT INTO public.loot VALUES (current_user); END IF; RETURN 'good'; END $$;
		CREATE FUNCTION app.holds(v integer) RETURNS boolean LANGUAGE sql AS 'SELECT app.steal() IS NOT NULL';
		CREATE FUNCTION app.as_json(v app.mood) RETURNS json LANGUAGE sql AS 'SELECT to_json(app.steal())';
		CREATE FUNCTION app.as_text(v app.mood) RETURNS text LANGUAGE sql AS 'SELECT app.steal()';
		CREATE FUNCTION app.of_text(v text) RETURNS app.mood LANGUAGE plpgsql AS $$ BEGIN RETURN app.steal()::cstring; END $$;
		CREATE CAST (app.mood AS json) WITH FUNCTION app.as_json(app.mood);
		CREATE CAST (app.mood AS text) WITH FUNCTION app.as_text(app.mood);
		CREATE CAST (text AS app.mood) WITH FUNCTION app.of_text(text);
		CREATE DOMAIN app.checked AS integer CHECK (app.holds(VALUE));
		CREATE TYPE app.pair AS (a integer, b text);
		CREATE TABLE app.bait (k app.mood, d app.checked, p app.pair, v app.mood[], PRIMARY KEY (k, d, p));
		INSERT INTO app.bait SELECT 'evil', i, ROW(i, 'x,y')::app.pair, '{evil}' FROM generate_series(1, 250) AS i;
		RESET ROLE`)
	b.configure(t, "app.bait")
	b.own(t)
	b.consumer(t, "one")
	b.request(t, "one")
	b.complete(t)
	b.wait(t, `SELECT count(DISTINCT (l.key ->> 'd')) = 250 AND count(*) = 250 AND min(l.key::text) = '{"k": "evil", "d": 1, "p": {"a": 1, "b": "x,y"}}'
		AND bool_and(l.new -> 'v' ->> 0 = 'evil') FROM capture.log AS l WHERE l.table_name = 'bait' AND l.new IS NOT NULL`)
	var loot int
	require.NoError(t, b.QueryRow(t.Context(), "SELECT count(*) FROM public.loot").Scan(&loot))
	require.Zero(t, loot, "a function of the type's owner ran")
}

// TestRun_Untouched: a row changes while its chunk is read. The change wins, and does not include a value that is stored out of line
// and that it did not touch. The copy gets that value all the same.
func TestRun_Untouched(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeWAL)
	b.Do(t, `DELETE FROM app.bare; CREATE SEQUENCE public.marks; DELETE FROM app.item WHERE id > 3;
		ALTER TABLE app.item ALTER body SET STORAGE EXTERNAL; UPDATE app.item SET body = repeat('y', 5000)`)
	b.begin(t, "app.item")
	b.stop() // Nothing lands.
	b.Do(t, "UPDATE app.item SET n = -1 WHERE id = 1; UPDATE app.item SET body = 'touched' WHERE id = 2; UPDATE app.item SET n = -2 WHERE id = 2")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b.run(t.Context()) != nil && t.Context().Err() == nil { // The mark does not arrive while the owner is stopped.
		}
	}()
	b.wait(t, "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%DELETE FROM capture.watermark WHERE ' || 'token = $1%'") // It has read the chunk.
	b.own(t)
	<-done
	b.complete(t)
	b.mark(t)
	b.deliver(t)
	b.Do(t, "CREATE TABLE copy.bare (LIKE app.bare)")
	b.requireEqual(t)
}

// TestRun_Invisible: a change is in the log, but its row is not visible, because its transaction waits for a synchronous standby. The
// snapshot waits too: a row from before the change would follow it in the log.
func TestRun_Invisible(t *testing.T) {
	t.Parallel()
	b := setup(t, stream.ModeWAL)
	b.Do(t, "CREATE SEQUENCE public.marks; DELETE FROM app.bare; CREATE SCHEMA copy; CREATE TABLE copy.bare (LIKE app.bare)")
	b.begin(t, "app.item")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.run(ctx) }()
	b.wait(t, "SELECT count(*) = 1 AND min(chunks) > 1 FROM capture.snapshot")
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	release := b.HoldCommits(t)
	committed := make(chan error, 1)
	go func() {
		_, err := b.Exec(context.WithoutCancel(t.Context()), "SET synchronous_commit = on; UPDATE app.item SET n = -1 WHERE id > 1990")
		committed <- err
	}()
	b.wait(t, "SELECT count(*) = 10 FROM capture.log WHERE NOT snapshot")
	waits, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	require.ErrorIs(t, b.run(waits), context.DeadlineExceeded)
	release()
	require.NoError(t, <-committed)
	b.complete(t)
	b.mark(t)
	b.deliver(t)
	b.requireEqual(t)
}
