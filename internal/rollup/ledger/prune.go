// Package ledger reads and prunes what Daymill remembers: the states of dates, runs, requests and workers.
package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// DefaultRetention is how long finished runs, resolved requests, ended backfills, the history of jobs and the audit are kept.
// Dates and the last run of each date are never deleted.
const DefaultRetention = 400 * 24 * time.Hour

// watchRetention is how long resolved requests of the triggers on the source are kept. It is short, because there may be very many
// and each only says that a transaction had late events.
const watchRetention = 7 * 24 * time.Hour

// callRetention is how long calls of the API are kept that came with a key.
const callRetention = 24 * time.Hour

// pruneRows is how many rows one statement deletes.
const pruneRows = 1_000

// Prune deletes rows that ended before an instant, a thousand at a time, with a pause after each statement. It returns how many
// rows it deleted.
func Prune(ctx context.Context, conn *postgres.DB, before time.Time, pacer *pace.Pacer) (int64, error) {
	steps := []func(queries *db.Queries) (int64, error){
		func(queries *db.Queries) (int64, error) {
			return queries.PruneRequests(ctx, db.PruneRequestsParams{Before: &before, MaxRows: pruneRows})
		},
		func(queries *db.Queries) (int64, error) {
			return queries.PruneWatchRequests(ctx, db.PruneWatchRequestsParams{Keep: watchRetention, MaxRows: pruneRows})
		},
		func(queries *db.Queries) (int64, error) {
			return queries.PruneRuns(ctx, db.PruneRunsParams{Before: &before, MaxRows: pruneRows})
		},
		func(queries *db.Queries) (int64, error) {
			return queries.PruneVerifications(ctx, db.PruneVerificationsParams{Before: before, MaxRows: pruneRows})
		},
		func(queries *db.Queries) (int64, error) {
			return queries.PruneBackfills(ctx, db.PruneBackfillsParams{Before: &before, MaxRows: pruneRows})
		},
		func(queries *db.Queries) (int64, error) {
			return queries.PruneJobs(ctx, db.PruneJobsParams{Before: &before, MaxRows: pruneRows})
		},
		func(queries *db.Queries) (int64, error) {
			return queries.PruneAudit(ctx, db.PruneAuditParams{Before: before, MaxRows: pruneRows})
		},
		func(queries *db.Queries) (int64, error) {
			return queries.PruneCalls(ctx, db.PruneCallsParams{Keep: callRetention, MaxRows: pruneRows})
		},
	}
	var total int64
	for _, step := range steps {
		for deleted := int64(pruneRows); deleted == pruneRows; {
			took, err := pacer.Do(nil, func() error {
				return conn.Tx(ctx, func(tx pgx.Tx) (err error) {
					deleted, err = step(db.New(tx))
					return err
				})
			})
			total += deleted
			if err == nil {
				err = pacer.Pause(ctx, took)
			}
			if err != nil {
				return total, fmt.Errorf("prune the ledger: %w", err)
			}
		}
	}
	return total, nil
}
