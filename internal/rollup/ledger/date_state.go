package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// DateState is the current state of a date, with the figures of its last complete run.
type DateState struct {
	Date         date.Date  `json:"date"`
	State        string     `json:"state"`
	CompletedAt  *time.Time `json:"completed_at"` // null if it was never complete; the figures are then null, too
	Events       *int64     `json:"events"`
	Entities     *int64     `json:"entities"`
	OpenRequests int64      `json:"open_requests"`
}

// DateStates lists at most limit dates of a range that the ledger knows, earliest first: those after a date if it is given, and
// those in a state if it is not empty.
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

// IncompleteDates returns how many dates of a range the ledger knows that are not complete now. 1,000 means 1,000 or more.
func IncompleteDates(ctx context.Context, on postgres.DBTX, dates date.Range) (int64, error) {
	count, err := db.New(on).DateStateIncomplete(ctx, db.DateStateIncompleteParams{
		FirstDate: dates.First, LastDate: dates.Last, MaxRows: 1000,
	})
	if err != nil {
		return 0, fmt.Errorf("count dates: %w", err)
	}
	return count, nil
}
