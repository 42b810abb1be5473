package kind_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/capture/sink/kind"
	"github.com/daymill/daymill/internal/capture/sink/sinktest"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestOpen_OneConnection: a delivery in the log's own database needs no second connection. If all deliveries of a pool did, they would wait for
// each other.
func TestOpen_OneConnection(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: db.URL, PoolSize: 1})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	env := environment(map[string]string{"URL": db.URL})
	env.URL, env.DB = db.URL, pool
	s := settings(kind.Postgres)
	s.Schema = "copy"
	opened, err := kind.Open(t.Context(), kind.Postgres, s, env)
	require.NoError(t, err)
	require.True(t, opened.Once)
	target, is := opened.Sink.(consumer.TxSink)
	require.True(t, is)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, pool.Tx(ctx, func(tx pgx.Tx) error {
		_, err := target.DeliverTx(ctx, tx, []change.Change{sinktest.Insert(1, 1)})
		return err
	}))
}
