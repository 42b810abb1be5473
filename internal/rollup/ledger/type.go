package ledger

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// Types returns the events by type of each date of a range, as recorded by its last complete run. It leaves
// out dates without a record, which were completed by an older version, or by a run that resumed another one.
func Types(ctx context.Context, on postgres.DBTX, of date.Range) (map[date.Date]merge.Sums, error) {
	rows, err := db.New(on).TypeList(ctx, db.TypeListParams{FirstDate: of.First, LastDate: of.Last})
	if err != nil {
		return nil, fmt.Errorf("read the events of dates by type: %w", err)
	}
	types := make(map[date.Date]merge.Sums, len(rows))
	for _, row := range rows {
		var sums merge.Sums
		if err := json.Unmarshal(row.Counts, &sums); err != nil {
			return nil, fmt.Errorf("read the events of %s by type: %w", row.MetricDate, err)
		}
		types[row.MetricDate] = sums
	}
	return types, nil
}
