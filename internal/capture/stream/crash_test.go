package stream_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/pgserver"
	"github.com/daymill/daymill/internal/test/pgtest"
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

// TestWAL_Again: Postgres is killed before it has saved what was confirmed, so it sends changes again that have landed, and older definitions of their
// table with them. Nothing lands twice, and the table's columns have the versions that they had.
func TestWAL_Again(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Do(t, simple+"; ALTER TABLE app.t ADD dropped text")
	owner := b.owner("app", stream.ModeWAL)
	b.start(t, owner)
	for _, sql := range []string{
		"INSERT INTO app.t VALUES (1)", "ALTER TABLE app.t ADD b text", "INSERT INTO app.t VALUES (2)", "ALTER TABLE app.t DROP dropped",
		"INSERT INTO app.t VALUES (3)", "INSERT INTO app.t VALUES (4), (5)",
	} {
		b.Do(t, sql)
	}
	b.wait(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 't' AND key ->> 'id' = '5')")
	confirmed := func() string {
		return pgtest.Column[string](t, b.DB, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots")[0]
	}
	after := confirmed()
	b.wait(t, "SELECT confirmed_flush_lsn > $1::pg_lsn FROM pg_replication_slots", after)
	before := confirmed()
	versions := pgtest.Column[string](t, b.DB, "SELECT version || ' ' || columns::text FROM capture.schema_version ORDER BY version")
	require.NoError(t, b.Server.Stop(t.Context(), pgserver.Immediate))
	require.NoError(t, b.Server.Start(t.Context()))
	b.Reset()
	require.Equal(t, []bool{true}, pgtest.Column[bool](t, b.DB, "SELECT confirmed_flush_lsn < $1::pg_lsn FROM pg_replication_slots", before), "it was not saved")
	b.Do(t, "INSERT INTO app.t VALUES (6)")
	b.wait(t, "SELECT EXISTS (SELECT FROM capture.log WHERE table_name = 't' AND key ->> 'id' = '6')")
	require.Equal(t, []string{"1", "2", "3", "4", "5", "6"}, pgtest.Column[string](t, b.DB, "SELECT key ->> 'id' FROM capture.log WHERE table_name = 't' ORDER BY position"))
	require.Equal(t, versions, pgtest.Column[string](t, b.DB, "SELECT version || ' ' || columns::text FROM capture.schema_version ORDER BY version"))
	require.Empty(t, b.gaps(t, "app"))
}
