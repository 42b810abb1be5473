package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// DateState is a date as it is now, and what its last completion came to.
type DateState struct {
	Date         date.Date  `json:"date"`
	State        string     `json:"state"`
	CompletedAt  *time.Time `json:"completed_at"` // null where it was never complete; so are the figures
	Events       *int64     `json:"events"`
	Entities     *int64     `json:"entities"`
	OpenRequests int64      `json:"open_requests"`
}

// DateStates lists the dates of a range that the ledger knows, after a date where that is one, earliest first and limit at most. An empty
// state is any.
func DateStates(
	ctx context.Context, on postgres.DBTX, dates date.Range, after date.Date, state string, limit int,
) ([]DateState, error) {
	rows, err := db.New(on).DateStateList(ctx, db.DateStateListParams{
		FirstDate: dates.First, LastDate: dates.Last, AfterDate: after, State: state, MaxRows: int32(limit), //nolint:gosec // A page.
	})
	if err != nil {
		return nil, fmt.Errorf("list dates: %w", err)
	}
	all := make([]DateState, len(rows))
	for i, row := range rows {
		all[i] = DateState{
			Date: row.MetricDate, State: row.State, CompletedAt: row.CompletedAt, Events: row.Events, Entities: row.Entities,
			OpenRequests: row.OpenRequests,
		}
	}
	return all, nil
}

// IncompleteDates is how many dates of a range the ledger knows that are not complete now; 1,000 stands for that many and
// more.
func IncompleteDates(ctx context.Context, on postgres.DBTX, dates date.Range) (int64, error) {
	count, err := db.New(on).DateStateIncomplete(ctx, db.DateStateIncompleteParams{
		FirstDate: dates.First, LastDate: dates.Last, MaxRows: 1000,
	})
	if err != nil {
		return 0, fmt.Errorf("count dates: %w", err)
	}
	return count, nil
}
