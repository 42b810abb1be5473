package postgres_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink/postgres"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/pgserver"
	database "github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

// TestDeliver_Crash: what Deliver has accepted survives a crash of the target, because the position moves after it. The server of the
// tests has synchronous_commit = off.
func TestDeliver_Crash(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, map[string]string{"wal_writer_delay": "10s"})
	pool, err := database.Open(t.Context(), database.Config{URL: server.URL("postgres")})
	require.NoError(t, err)
	defer pool.Close()
	p := postgres.New(postgres.Config{DB: pool, Schema: "copy", Columns: columns})
	_, err = p.Deliver(t.Context(), []change.Change{sinktest.Insert(1, 1)})
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), "CHECKPOINT")
	require.NoError(t, err)
	_, err = p.Deliver(t.Context(), []change.Change{sinktest.Insert(2, 2), sinktest.Insert(3, 3)})
	require.NoError(t, err)
	ctx := context.WithoutCancel(t.Context())
	require.NoError(t, server.Stop(ctx, pgserver.Immediate))
	require.NoError(t, server.Start(ctx))
	pool.Reset()
	var count int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM copy.orders").Scan(&count))
	require.Equal(t, 3, count, "accepted changes are lost")
}

// TestDeliver_Sweeps: two sweeps of a table in one batch: both count.
func TestDeliver_Sweeps(t *testing.T) {
	t.Parallel()
	b := newTarget(t)
	p := b.open()
	_, err := p.Deliver(t.Context(), []change.Change{sinktest.Insert(70, 1), sinktest.Insert(40, 2)})
	require.NoError(t, err)
	_, err = p.Deliver(t.Context(), []change.Change{sinktest.Sweep(201, 100), sinktest.Sweep(202, 50)})
	require.NoError(t, err)
	require.Empty(t, b.Rows(t), "the first sweep was dropped")
}
