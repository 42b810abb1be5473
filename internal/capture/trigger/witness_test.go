package trigger_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestReader_Witness: nothing lands from a source that does not have everything that was read from it, and a reader that ended before its
// changes have landed is not taken for that.
func TestReader_Witness(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_writer_delay": "10s"})
	db := pgtest.On(t, server, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	ctx := t.Context()
	db.Do(t, "CREATE TABLE public.t (id serial PRIMARY KEY)")
	tables, err := table.Find(ctx, db.DB, []string{"public.t"})
	require.NoError(t, err)
	schema := trigger.Schema("app")
	require.NoError(t, trigger.Install(ctx, db.DB, schema, tables, nil))
	begun, err := trigger.Begin(ctx, db.DB, schema)
	require.NoError(t, err)
	require.NotZero(t, begun.Witness)
	require.Equal(t, begun, trigger.ParseMark(begun.String()))
	var landed []change.Change
	mark, committed := begun, "0/0"
	var fails error
	reader := func() *trigger.Reader {
		return trigger.New(trigger.Config{
			Schema: schema, Source: db.DB, Mark: trigger.ParseMark(mark.String()), Version: func(string, string, []table.Column) int { return 1 }, Rows: 2,
			Table: func(context.Context, uint32) (table.Table, bool, error) { return tables[0], true, nil },
			Land: func(_ context.Context, batch trigger.Batch) error {
				var durable bool
				require.NoError(t, db.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn", committed).Scan(&durable))
				require.True(t, durable, "a crash of the source must not undo what lands")
				if fails == nil {
					landed, mark = append(landed, batch.Changes...), batch.Mark
				}
				return fails
			},
		})
	}
	insert := func() {
		t.Helper()
		tx, err := db.DB.Begin(ctx)
		require.NoError(t, err)
		_, err = tx.Exec(ctx, "SET LOCAL synchronous_commit = off; INSERT INTO public.t SELECT nextval('public.t_id_seq') FROM generate_series(1, 5)")
		require.NoError(t, err)
		require.NoError(t, tx.Commit(ctx))
		require.NoError(t, db.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&committed))
	}
	turn := func(r *trigger.Reader, wanted error, all int) {
		t.Helper()
		_, err := r.Turn(ctx)
		require.ErrorIs(t, err, wanted)
		require.Len(t, landed, all)
	}
	set := func(add int) {
		t.Helper()
		db.Do(t, "SELECT setval('daymill_capture.witness', last_value + $1) FROM daymill_capture.witness", add)
	}

	running := reader()
	insert()
	turn(running, nil, 5)
	require.Equal(t, begun.Witness+1, mark.Witness, "once a turn")
	insert()
	fails = errors.New("it ends")
	turn(running, fails, 5)
	fails = nil
	running = reader()
	turn(running, nil, 10)

	set(3) // The log was restored.
	turn(running, trigger.ErrRestored, 10)
	turn(reader(), trigger.ErrRestored, 10)
	set(-4) // The source was restored.
	turn(running, trigger.ErrRestored, 10)
	insert()
	turn(running, trigger.ErrRestored, 10)
	turn(reader(), trigger.ErrRestored, 10)
	set(1)
	running = reader()
	turn(running, nil, 15)

	// A mark of an earlier version.
	mark.Witness = 0
	require.Equal(t, mark, trigger.ParseMark(mark.String()))
	insert()
	turn(reader(), nil, 20)
	require.NotZero(t, mark.Witness)

	// A reader that has read more than has landed does not go on after a restart, which may have undone it.
	running = reader()
	turn(running, nil, 20)
	require.NoError(t, server.Restart(ctx, pgserver.Immediate))
	db.Reset()
	for range 10 { // Connections are closed.
		if _, err = running.Turn(ctx); err != nil && errors.Is(err, trigger.ErrRestarted) {
			break
		}
	}
	require.ErrorIs(t, err, trigger.ErrRestarted)
	turn(reader(), nil, 20)
}

// TestReader_Partial: while a turn lands, the source becomes an older one.
func TestReader_Partial(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	ctx := t.Context()
	db.Do(t, "CREATE TABLE public.t (id integer PRIMARY KEY)")
	tables, err := table.Find(ctx, db.DB, []string{"public.t"})
	require.NoError(t, err)
	schema := trigger.Schema("app")
	require.NoError(t, trigger.Install(ctx, db.DB, schema, tables, nil))
	begun, err := trigger.Begin(ctx, db.DB, schema)
	require.NoError(t, err)
	reader := trigger.New(trigger.Config{
		Schema: schema, Source: db.DB, Mark: begun, Version: func(string, string, []table.Column) int { return 1 },
		Table: func(ctx context.Context, _ uint32) (table.Table, bool, error) {
			_, err := db.Exec(ctx, "SELECT setval('daymill_capture.witness', $1)", begun.Witness-1)
			return tables[0], true, err
		},
		Land: func(context.Context, trigger.Batch) error { return errors.New("it landed") },
	})
	db.Do(t, "INSERT INTO public.t VALUES (1)")
	_, err = reader.Turn(ctx)
	require.ErrorIs(t, err, trigger.ErrRestored)
}
