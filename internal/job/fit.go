package job

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Fit returns how many of the jobs, from the first on, have at most so many bytes of arguments and errors together, as
// stored; at least one.
func Fit(ctx context.Context, on postgres.DBTX, ids []int64, most int64) (int, error) {
	rows, err := db.New(on).JobSizes(ctx, ids)
	if err != nil {
		return 0, fmt.Errorf("measure jobs: %w", err)
	}
	sizes := make(map[int64]int64, len(rows))
	for _, row := range rows {
		sizes[row.ID] = row.Bytes
	}
	bytes := int64(0)
	for i, id := range ids {
		if bytes += sizes[id]; bytes > most {
			return max(1, i), nil
		}
	}
	return len(ids), nil
}
