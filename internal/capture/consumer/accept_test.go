package consumer_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/filter"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	database "github.com/daymill/daymill/internal/postgres"
)

// TestRun_SchemaChange: a consumer continues with a version that it can follow, and is paused before the first change of any other,
// with a reason that says how to fix it. Resuming the consumer accepts that version.
func TestRun_SchemaChange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	version := func(position int64, version int, table string) change.Change {
		c := sinktest.Insert(position, position)
		c.SchemaVersion, c.Table = version, table
		return c
	}
	b.log(t, version(1, 1, "orders"), version(2, 1, "orders"), version(3, 2, "orders"), version(4, 7, "notes"), version(5, 2, "orders"),
		version(6, 3, "orders"), version(7, 3, "orders"), version(8, 8, "notes"), version(9, 8, "secret"), version(10, 9, "secret"))
	judged := []string{}
	run := func() error {
		config := b.config(t, filter.Config{Tables: []string{"!public.secret"}})
		config.Judge = func(_ context.Context, _ database.DBTX, c change.Change, accepted int) (string, error) {
			judged = append(judged, fmt.Sprintf("%s %d from %d", c.Table, c.SchemaVersion, accepted))
			if c.SchemaVersion == 3 || c.SchemaVersion == 8 {
				return fmt.Sprintf("of %s: do something", c.Table), nil
			}
			return "", nil
		}
		_, err := consumer.Run(t.Context(), config)
		return err
	}
	resume := func() {
		require.NoError(t, b.Tx(t.Context(), func(tx pgx.Tx) error { return consumer.Resume(t.Context(), tx, "s", who) }))
	}
	require.ErrorIs(t, run(), consumer.ErrPaused)
	require.Equal(t, []int64{1, 2, 3, 4, 5}, b.sink.taken)
	c, err := consumer.Get(t.Context(), b.DB.DB, "s")
	require.NoError(t, err)
	require.Equal(t, "of orders: do something", c.PausedBecause)
	require.ErrorIs(t, run(), consumer.ErrPaused)
	resume()
	require.ErrorIs(t, run(), consumer.ErrPaused)
	require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7}, b.sink.taken)
	resume()
	require.NoError(t, run())
	require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7, 8}, b.sink.taken)
	require.Equal(t, []string{"orders 2 from 1", "orders 3 from 2", "orders 3 from 2", "notes 8 from 7", "notes 8 from 7"}, judged)
}
