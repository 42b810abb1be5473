package trigger_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/capture/trigger"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestReader_Rotate: a resting queue is not emptied while it has a change that was committed after the last turn.
func TestReader_Rotate(t *testing.T) {
	t.Parallel()
	db := pgtest.Empty(t)
	ctx := t.Context()
	exec := func(sql string) {
		_, err := db.Exec(ctx, sql)
		require.NoError(t, err, sql)
	}
	exec("CREATE TABLE public.t (id integer PRIMARY KEY)")
	tables, err := table.Find(ctx, db.DB, []string{"public.t"})
	require.NoError(t, err)
	schema := trigger.Schema("app")
	require.NoError(t, db.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := trigger.Install(ctx, tx, schema, tables, nil); err != nil {
			return err
		}
		return trigger.Accept(ctx, tx, schema)
	}))
	seen, err := trigger.Snapshot(ctx, db.DB)
	require.NoError(t, err)
	var landed []change.Change
	reader := trigger.New(trigger.Config{
		Schema: schema, Source: db.DB, Mark: trigger.Mark{Seen: seen}, Version: func(string, string, []table.Column) int { return 1 },
		Table: func(context.Context, uint32) (table.Table, bool, error) { return tables[0], true, nil },
		Land: func(_ context.Context, batch trigger.Batch) error {
			landed = append(landed, batch.Changes...)
			return nil
		},
	})
	late, err := db.Begin(ctx)
	require.NoError(t, err)
	_, err = late.Exec(ctx, "INSERT INTO public.t VALUES (1)")
	require.NoError(t, err)
	exec("UPDATE daymill_capture.control SET active = 1")
	_, err = reader.Turn(ctx)
	require.NoError(t, err)
	require.NoError(t, reader.Rotate(ctx), "somebody writes to it")
	require.NoError(t, late.Commit(ctx))
	require.NoError(t, reader.Rotate(ctx), "nobody writes to it")
	require.Empty(t, landed)
	_, err = reader.Turn(ctx)
	require.NoError(t, err)
	require.Len(t, landed, 1)
	require.NoError(t, reader.Rotate(ctx))
	var size int64
	require.NoError(t, db.QueryRow(ctx, "SELECT pg_relation_size('daymill_capture.queue_0')").Scan(&size))
	require.Zero(t, size)
}
