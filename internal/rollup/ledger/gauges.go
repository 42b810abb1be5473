package ledger

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/telemetry"
)

// Names of the gauges.
const (
	datesByState  = "daymill_dates"
	openRequests  = "daymill_open_requests"
	oldestDue     = "daymill_oldest_due_request_age_seconds"
	openBackfills = "daymill_open_backfills"
	backfillDates = "daymill_open_backfill_dates"
	dailyLast     = "daymill_daily_job_last_run_timestamp_seconds"
	dailyPaused   = "daymill_daily_job_paused"
)

// Gauges returns the gauges of the rollup, which two statements read.
func Gauges(conn *postgres.DB) telemetry.Gauges {
	return telemetry.Gauges{
		All: []telemetry.Gauge{
			// All states of date_states except interrupted, which counts as retrying.
			{Name: datesByState, Help: "Dates by state, as `daymill status` counts them.", Labels: []string{"state"}},
			{Name: openRequests, Help: "Requests that are not resolved yet, including those that are not due, up to 100,000."},
			{Name: oldestDue, Help: "How long the oldest open request has been due; 0 if none is."},
			{Name: openBackfills, Help: "Backfills that have not ended, by state.", Labels: []string{"state"}},
			{Name: backfillDates, Help: "Dates of open backfills that have not ended."},
			{Name: dailyLast, Help: "When the daily job last did its work; missing if it never has."},
			{Name: dailyPaused, Help: "1 while somebody has paused the daily job."},
		},
		Read: func(ctx context.Context) ([]telemetry.Sample, error) { return readGauges(ctx, conn) },
	}
}

func readGauges(ctx context.Context, conn *postgres.DB) (samples []telemetry.Sample, err error) {
	err = conn.Read(ctx, func(on postgres.DBTX) error {
		queries := db.New(on)
		dates, err := queries.LedgerDates(ctx)
		if err != nil {
			return fmt.Errorf("count dates: %w", err)
		}
		row, err := queries.LedgerGauges(ctx, schedule.Name)
		if err != nil {
			return fmt.Errorf("read the gauges: %w", err)
		}
		samples = []telemetry.Sample{
			telemetry.Reading(openRequests, float64(row.OpenRequests)), telemetry.Reading(oldestDue, max(0, row.OldestDueSeconds)),
			telemetry.Reading(openBackfills, float64(row.BackfillsRunning), "running"),
			telemetry.Reading(openBackfills, float64(row.BackfillsPaused), "paused"),
			telemetry.Reading(backfillDates, float64(row.BackfillDatesLeft)), telemetry.Reading(dailyPaused, telemetry.Flag(row.DailyPaused)),
		}
		for state, count := range byState(dates) {
			samples = append(samples, telemetry.Reading(datesByState, float64(count), state))
		}
		if row.DailyLastRunAt != nil {
			samples = append(samples, telemetry.Reading(dailyLast, float64(row.DailyLastRunAt.UnixMilli())/1000))
		}
		return nil
	})
	return samples, err
}

func byState(dates db.LedgerDatesRow) map[string]int64 {
	return map[string]int64{
		"complete": dates.Complete, "running": dates.Running, "requested": dates.Requested, "waiting": dates.Waiting,
		"retrying": dates.Retrying, "failed": dates.Failed, "cancelled": dates.Cancelled,
		"stale": dates.Stale, "protected": dates.Protected,
	}
}
