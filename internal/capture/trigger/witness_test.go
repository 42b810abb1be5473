package trigger_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// witnessBundle is a table whose changes are captured, and what has landed of them.
type witnessBundle struct {
	*pgtest.DB

	server  *pgserver.Server
	schema  string
	tables  []table.Table
	landed  []change.Change
	mark    trigger.Mark
	fails   error  // of landing
	between func() // called once between the snapshot of a turn and its first landing
	durable string // position that must be on disk when changes land
}

func witnessSetup(t *testing.T) *witnessBundle {
	t.Helper()
	server := pgtest.Server(t, map[string]string{"wal_writer_delay": "10s"})
	b := &witnessBundle{server: server, schema: trigger.Schema("app"), durable: "0/0"}
	b.DB = pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	b.Do(t, "CREATE TABLE public.t (id serial PRIMARY KEY)")
	var err error
	b.tables, err = table.Find(t.Context(), b.DB.DB, []string{"public.t"})
	require.NoError(t, err)
	require.NoError(t, trigger.Install(t.Context(), b.DB.DB, b.schema, b.tables, nil))
	b.mark, err = trigger.Begin(t.Context(), b.DB.DB, b.schema)
	require.NoError(t, err)
	require.NotZero(t, b.mark.Witness)
	return b
}

// reader returns a reader that begins at the mark.
func (b *witnessBundle) reader(t *testing.T) *trigger.Reader {
	t.Helper()
	mark := trigger.ParseMark(b.mark.String())
	require.Equal(t, b.mark, mark)
	return trigger.New(trigger.Config{
		Schema: b.schema, Source: b.DB.DB, Mark: mark, Version: func(string, string, []table.Column) int { return 1 }, Rows: 2,
		Table: func(context.Context, uint32) (table.Table, bool, error) {
			if b.between != nil {
				b.between()
				b.between = nil
			}
			return b.tables[0], true, nil
		},
		Land: func(ctx context.Context, batch trigger.Batch) error {
			durable := len(batch.Changes) == 0
			require.NoError(t, b.QueryRow(ctx, "SELECT $2 OR pg_current_wal_flush_lsn() >= $1::text::pg_lsn", b.durable, durable).Scan(&durable))
			require.True(t, durable, "a crash of the source must not undo what lands")
			if b.fails == nil {
				b.landed, b.mark = append(b.landed, batch.Changes...), batch.Mark
			}
			return b.fails
		},
	})
}

// lazily runs statements, each in a transaction whose commit does not wait for the disk.
func (b *witnessBundle) lazily(t *testing.T, count int, statement string) {
	t.Helper()
	for range count {
		tx, err := b.DB.DB.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "SET LOCAL synchronous_commit = off; "+statement)
		require.NoError(t, err)
		require.NoError(t, tx.Commit(t.Context()))
	}
}

// insert inserts five rows without waiting for the disk.
func (b *witnessBundle) insert(t *testing.T) {
	t.Helper()
	b.lazily(t, 1, "INSERT INTO public.t SELECT nextval('public.t_id_seq') FROM generate_series(1, 5)")
	require.NoError(t, b.QueryRow(t.Context(), "SELECT pg_current_wal_insert_lsn()::text").Scan(&b.durable))
}

// turn reads once. all is how many changes have landed then.
func (b *witnessBundle) turn(t *testing.T, reader *trigger.Reader, wanted error, all int) {
	t.Helper()
	_, err := reader.Turn(t.Context())
	require.ErrorIs(t, err, wanted)
	require.Len(t, b.landed, all)
}

func (b *witnessBundle) set(t *testing.T, add int) {
	t.Helper()
	b.Do(t, "SELECT setval('daymill_capture.witness', last_value + $1) FROM daymill_capture.witness", add)
}

// checkpointerSQL selects the process that Postgres replaces when it starts again after a crash.
const checkpointerSQL = "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE backend_type = 'checkpointer'"

// crashed waits until Postgres is there again. Right after the kill, it may not have noticed it yet.
func (b *witnessBundle) crashed(t *testing.T, checkpointer int) {
	t.Helper()
	require.Eventually(t, func() bool {
		b.Reset()
		var pid int
		err := b.QueryRow(t.Context(), checkpointerSQL).Scan(&pid)
		return err == nil && pid != 0 && pid != checkpointer
	}, time.Minute, 10*time.Millisecond)
	b.durable = "0/0"
}

// TestReader_Witness: nothing lands from a source that does not have everything that was read from it.
func TestReader_Witness(t *testing.T) {
	t.Parallel()
	b := witnessSetup(t)
	begun := b.mark
	running := b.reader(t)
	b.insert(t)
	b.turn(t, running, nil, 5)
	require.Equal(t, begun.Witness+1, b.mark.Witness, "once a turn")

	b.set(t, 3) // The log was restored.
	b.turn(t, running, trigger.ErrAgain, 5)
	b.turn(t, b.reader(t), trigger.ErrRestored, 5)
	b.set(t, -4) // The source was restored.
	b.turn(t, running, trigger.ErrAgain, 5)
	b.insert(t)
	b.turn(t, running, trigger.ErrAgain, 5)
	b.turn(t, b.reader(t), trigger.ErrRestored, 5)
	b.set(t, 1)
	b.turn(t, b.reader(t), nil, 10)

	// While a turn reads, the source becomes an older one.
	running = b.reader(t)
	b.insert(t)
	b.between = func() { b.set(t, -1) }
	b.turn(t, running, trigger.ErrAgain, 10)
	b.turn(t, b.reader(t), trigger.ErrRestored, 10)
	b.set(t, 1)

	b.mark.Witness = 0 // A mark of an earlier version.
	b.turn(t, b.reader(t), nil, 15)
	require.NotZero(t, b.mark.Witness)
}

// TestReader_Unlanded: readers that end before their changes land do not make the source look like a restored one.
func TestReader_Unlanded(t *testing.T) {
	t.Parallel()
	b := witnessSetup(t)
	b.insert(t)
	b.fails = errors.New("no space is left")
	for range 3 {
		b.turn(t, b.reader(t), b.fails, 0)
	}
	b.fails = nil
	b.turn(t, b.reader(t), nil, 5)

	// A process that was suspended has lost the stream to another one. It writes the next witness before it finds out.
	suspended, running := b.reader(t), b.reader(t)
	b.turn(t, suspended, nil, 5)
	b.turn(t, running, nil, 5)
	b.insert(t)
	b.fails = errors.New("fenced")
	b.turn(t, suspended, b.fails, 5)
	b.fails = nil
	b.turn(t, running, trigger.ErrAgain, 5)
	b.turn(t, b.reader(t), nil, 10)
}

// TestReader_LogRestored: the log goes back to just before a turn whose rows are no longer in the queue.
func TestReader_LogRestored(t *testing.T) {
	t.Parallel()
	b := witnessSetup(t)
	before, reader := b.mark, b.reader(t)
	b.insert(t)
	b.turn(t, reader, nil, 5)
	b.Do(t, "UPDATE daymill_capture.control SET active = 1")
	require.NoError(t, reader.Rotate(t.Context()))
	b.mark = before
	b.turn(t, b.reader(t), trigger.ErrRestored, 5)
}

// TestReader_Crash: a crash undoes transactions that were committed, and their numbers are used again. Nothing that lands is undone, and
// nothing that is written later is missing.
func TestReader_Crash(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]bool{"AfterIdleTurn": false, "WithinTurn": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := witnessSetup(t)
			reader := b.reader(t)
			b.insert(t)
			b.turn(t, reader, nil, 5)
			crash := func() {
				checkpointer := pgtest.Value[int](t, b.DB, checkpointerSQL)
				require.NoError(t, syscall.Kill(pgtest.Value[int](t, b.DB, "SELECT pg_backend_pid()"), syscall.SIGKILL)) // The postmaster stays.
				b.crashed(t, checkpointer)
			}
			if between {
				b.lazily(t, 20, "INSERT INTO public.t VALUES (DEFAULT)")
				b.between = crash
				_, err := reader.Turn(t.Context())
				require.Error(t, err)
				require.Len(t, b.landed, 5, "what it has read may be undone")
				reader = b.reader(t)
			} else {
				b.lazily(t, 20, "SELECT pg_current_xact_id()") // Of other tables.
				b.turn(t, reader, nil, 5)
				crash()
			}
			b.insert(t)
			for range 100 {
				b.Do(t, "SELECT pg_current_xact_id()")
			}
			rows := pgtest.Value[int](t, b.DB, "SELECT count(*) FROM public.t")
			for range 10 { // Closed connections are errors.
				_, _ = reader.Turn(t.Context())
			}
			require.Len(t, b.landed, rows)
		})
	}
}

// TestReader_Idle: the mark moves with a source that has many transactions without changes.
func TestReader_Idle(t *testing.T) {
	t.Parallel()
	b := witnessSetup(t)
	begun, reader := b.mark, b.reader(t)
	b.lazily(t, 10, "SELECT pg_current_xact_id()")
	b.turn(t, reader, nil, 0)
	require.Equal(t, begun, b.mark)
	b.Do(t, "DO $$ BEGIN FOR i IN 1..1000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
	b.turn(t, reader, nil, 0)
	require.NotEqual(t, begun, b.mark)
	b.insert(t)
	b.turn(t, reader, nil, 5)
}

// TestInstall_Upgrade: a source of an earlier version gets the witness while the application's transactions are open, and no statement waits.
func TestInstall_Upgrade(t *testing.T) {
	t.Parallel()
	b := witnessSetup(t)
	b.Do(t, "DROP SEQUENCE daymill_capture.witness")
	tx, err := b.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "INSERT INTO public.t VALUES (DEFAULT)")
	require.NoError(t, err)
	require.NoError(t, trigger.Install(t.Context(), b.DB.DB, b.schema, b.tables, nil))
	b.mark.Witness = 0
	b.turn(t, b.reader(t), nil, 0)
	require.NoError(t, tx.Commit(t.Context()))
	b.turn(t, b.reader(t), nil, 1)
}
