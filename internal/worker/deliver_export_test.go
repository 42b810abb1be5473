package worker

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/daymill/daymill/internal/capture/consumer"
	"github.com/daymill/daymill/internal/postgres"
)

// Due inserts jobs for shards that have changes in a log: see reconciler.due.
func Due(ctx context.Context, db *postgres.DB, client *river.Client[pgx.Tx], log consumer.Log, idle bool) (consumers bool, err error) {
	return (&reconciler{db: db, client: client}).due(ctx, &Capture{Log: log}, idle)
}
