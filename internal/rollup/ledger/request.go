package ledger

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// RequestDates asks for a rollup of dates in the caller's transaction: by is who wants it, via how it was asked for (web,
// api, …). The table writes the audit of it.
func RequestDates(ctx context.Context, on postgres.DBTX, dates []date.Date, by, via string) error {
	err := db.New(on).RequestAppendAs(ctx, db.RequestAppendAsParams{MetricDates: dates, RequestedBy: by, RequestedVia: via})
	if err != nil {
		return fmt.Errorf("request dates: %w", err)
	}
	return nil
}
