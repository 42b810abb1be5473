package stream_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/pgserver"
)

// TestCrash: Postgres is killed while an application writes. In both modes, everything that was committed is in the log once and in
// order, and there is no gap.
func TestCrash(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple+"; CREATE TABLE app.n (id integer PRIMARY KEY, n integer); INSERT INTO app.n VALUES (1, 0)")
	b.start(t, b.owner("t", stream.ModeTrigger))
	b.start(t, b.owner("w", stream.ModeWAL))
	committed, uncertain := 0, 0
	for round := range 3 {
		conn, err := pgx.Connect(t.Context(), b.URL)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), "SET synchronous_commit = on") // Committed rows must survive.
		require.NoError(t, err)
		crashed, enough := make(chan error, 1), make(chan struct{})
		go func() {
			<-enough
			ctx := context.WithoutCancel(t.Context())
			err := b.Server.Stop(ctx, pgserver.Immediate)
			if err == nil {
				err = b.Server.Start(ctx)
			}
			crashed <- err
		}()
		for i := 0; ; i++ {
			if i == 20 {
				close(enough)
			}
			if _, err = conn.Exec(t.Context(), "UPDATE app.n SET n = n + 1"); err != nil {
				uncertain++ // It may have been committed.
				break
			}
			committed++
		}
		require.NoError(t, <-crashed, round)
	}
	var last int
	require.True(t, waitFor(t.Context(), func() bool {
		return b.QueryRow(t.Context(), "SELECT n FROM app.n").Scan(&last) == nil
	}))
	require.LessOrEqual(t, committed, last)
	require.LessOrEqual(t, last, committed+uncertain)
	b.mark(t, "t", "w")
	for _, name := range []string{"t", "w"} {
		rows, err := b.Query(t.Context(), `SELECT l.new ->> 'n' FROM capture.log AS l INNER JOIN capture.stream AS s ON s.id = l.stream_id
			WHERE s.name = $1 AND l.table_name = 'n' ORDER BY l.position`, name)
		require.NoError(t, err)
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Len(t, got, last, name)
		for i, n := range got {
			require.Equal(t, strconv.Itoa(i+1), n, name)
		}
		require.Empty(t, b.gaps(t, name))
	}
}
