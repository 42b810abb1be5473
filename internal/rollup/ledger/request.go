package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/protection"
)

// Ask says who requests dates, and whether that may erase metrics.
type Ask struct {
	By, Via string // Via is web, api, …
	// Repair leaves dates unchanged that have fewer events than their last complete run counted.
	Repair bool
	// Erase erases metrics whose events no longer exist.
	Erase bool
	// Today is the current date in the reporting zone. A later date is refused.
	Today date.Date
	// Entities limits the request to some entities, as [entity.Type.Format] writes them; empty means all.
	Entities []string
}

func (a Ask) mayLose(dates int) string {
	switch {
	case a.Repair:
		return protection.LoseNone
	case dates > 1:
		return protection.LoseSome
	default:
		return protection.LoseAll
	}
}

// ErrFuture says that a date has not begun, so it has no events.
var ErrFuture = errors.New("is in the future")

// RequestDates requests a rollup of dates in the caller's transaction. A trigger on the table writes the audit. The rules are the
// same as those of analytics.enqueue_rollup, which the command line and applications call.
func RequestDates(ctx context.Context, on postgres.DBTX, dates []date.Date, ask Ask) error {
	for _, one := range dates {
		if one.After(ask.Today) {
			return fmt.Errorf("%s %w: today is %s", one, ErrFuture, ask.Today)
		}
	}
	err := db.New(on).RequestAppendAs(ctx, db.RequestAppendAsParams{
		MetricDates: dates, RequestedBy: ask.By, RequestedVia: ask.Via, MayLose: ask.mayLose(len(dates)), Erase: ask.Erase,
		Entities: append([]string{}, ask.Entities...),
	})
	if err != nil {
		return fmt.Errorf("request dates: %w", err)
	}
	return nil
}
