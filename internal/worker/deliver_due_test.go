package worker_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/pgtest"
	"github.com/daymill/daymill/internal/worker"
)

// longLog is a log with more changes than any shard has received.
type longLog struct{}

func (longLog) Read(context.Context, postgres.DBTX, consumer.Query) ([]change.Change, int64, error) {
	return nil, 0, nil
}

func (longLog) Head(context.Context, postgres.DBTX, string) (int64, error) { return 1 << 40, nil }

// TestDue: after a landing only shards that have not moved for a while get a job, since others still have one.
func TestDue(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t, pgtest.Installed{EntityType: entity.Bigint, TimeZone: "UTC"})
	client, err := river.NewClient(riverpgxv5.New(db.Pool), &river.Config{Schema: "public"})
	require.NoError(t, err)
	require.NoError(t, db.Tx(t.Context(), func(tx pgx.Tx) error {
		return consumer.Create(t.Context(), tx, consumer.Consumer{Name: "s", Stream: "app", Kind: "webhook", Shards: 3}, 0, audit.Who{Via: audit.ViaCLI})
	}))
	db.Do(t, "UPDATE capture.shard SET moved_at = now() - interval '1 s' WHERE shard = 0; UPDATE capture.shard SET moved_at = now() - interval '1 h' WHERE shard = 1")
	due := func(idle bool) []string {
		consumers, err := worker.Due(t.Context(), db.DB, client, longLog{}, idle)
		require.NoError(t, err)
		require.True(t, consumers)
		return pgtest.Column[string](t, db, "SELECT args ->> 'shard' FROM public.river_job WHERE kind = 'deliver_changes' ORDER BY 1")
	}
	require.Equal(t, []string{"1", "2"}, due(true))
	require.Equal(t, []string{"0", "1", "2"}, due(false))
	// Shards that wait for their next attempt get none, but the worker goes on giving signs of life.
	db.Do(t, "DELETE FROM public.river_job; UPDATE capture.shard SET retry_at = now() + interval '1 h'")
	require.Empty(t, due(false))
}
