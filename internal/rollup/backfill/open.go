package backfill

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Open returns at most limit backfills that are running or paused, latest first.
func Open(ctx context.Context, on postgres.DBTX, limit int) ([]Status, error) {
	rows, err := db.New(on).BackfillOpen(ctx, int32(limit)) //nolint:gosec // A page.
	if err != nil {
		return nil, fmt.Errorf("list open backfills: %w", err)
	}
	all := make([]Status, len(rows))
	for i, row := range rows {
		all[i] = status(db.BackfillListRow(row))
	}
	return all, nil
}
