package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/schedule"
)

// Gauges holds the numbers that a monitoring system reads every few seconds.
type Gauges struct {
	// Dates counts dates by state. It has every state of date_states except interrupted, which counts as retrying.
	Dates map[string]int64
	// OpenRequests counts requests that are not resolved, including those that are due later.
	OpenRequests int64
	// OldestDue is how long the oldest open request has been due; 0 if none is due.
	OldestDue time.Duration
	// Backfills counts backfills that are running or paused, and BackfillDatesLeft their dates that have not ended.
	Backfills         map[string]int64
	BackfillDatesLeft int64
	// Workers counts the worker processes that are alive.
	Workers int64
	// LastSchedule is when the daily job last did its work; nil if it never has.
	LastSchedule   *time.Time
	SchedulePaused bool
}

// ReadGauges reads the gauges with two statements.
func ReadGauges(ctx context.Context, conn *postgres.DB) (gauges Gauges, err error) {
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		queries := db.New(on)
		dates, err := queries.LedgerDates(ctx)
		if err != nil {
			return fmt.Errorf("count dates: %w", err)
		}
		row, err := queries.LedgerGauges(ctx, db.LedgerGaugesParams{Alive: presence.Alive, Schedule: schedule.Name})
		if err != nil {
			return fmt.Errorf("read the gauges: %w", err)
		}
		gauges = Gauges{
			Dates: byState(dates), OpenRequests: row.OpenRequests,
			OldestDue:         time.Duration(row.OldestDueSeconds * float64(time.Second)),
			Backfills:         map[string]int64{"running": row.BackfillsRunning, "paused": row.BackfillsPaused},
			BackfillDatesLeft: row.BackfillDatesLeft, Workers: row.WorkersAlive,
			LastSchedule: row.DailyLastRunAt, SchedulePaused: row.DailyPaused,
		}
		return nil
	})
	return gauges, err
}

func byState(dates db.LedgerDatesRow) map[string]int64 {
	return map[string]int64{
		"complete": dates.Complete, "running": dates.Running, "requested": dates.Requested, "waiting": dates.Waiting,
		"retrying": dates.Retrying, "failed": dates.Failed, "cancelled": dates.Cancelled,
		"stale": dates.Stale, "protected": dates.Protected,
	}
}
