// Package estimate says what a rollup would cost before it is started, without reading the events.
package estimate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Cost of rolling up a range, one date at a time. Both are estimates.
type Cost struct {
	Events int64
	Time   time.Duration
}

const (
	// perEvent and perDate are what is assumed where the ledger knows no run yet: as measured at the default pace.
	perEvent = 10 * time.Microsecond
	perDate  = 50 * time.Millisecond
)

// Range estimates a range: the events by the planner's statistics, the time by how long recent runs took.
func Range(ctx context.Context, conn *postgres.DB, dates date.Range) (Cost, error) {
	var cost Cost
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		bounds, err := queries.DateBounds(ctx, db.DateBoundsParams{MetricDate: dates.First, NextDate: dates.Last.AddDays(1)})
		if err != nil {
			return fmt.Errorf("find the range's bounds: %w", err)
		}
		if cost.Events, err = planned(ctx, tx, bounds.FromInstant, bounds.ToInstant); err != nil {
			return err
		}
		recent, err := queries.RunRecentCost(ctx)
		if err != nil {
			return fmt.Errorf("read recent runs: %w", err)
		}
		cost.Time = time.Duration(cost.Events)*perEvent + time.Duration(dates.Len())*perDate
		if recent.Events > 0 {
			cost.Time = time.Duration(float64(cost.Events) * recent.Seconds / float64(recent.Events) * float64(time.Second))
			cost.Time += time.Duration(dates.Len()) * perDate
		}
		return nil
	})
	return cost, err
}

// planned is how many events the planner expects between two instants.
func planned(ctx context.Context, tx pgx.Tx, from, to time.Time) (int64, error) {
	var text []byte
	err := tx.QueryRow(ctx, `EXPLAIN (FORMAT JSON) SELECT FROM analytics.events AS e
		WHERE e.created_at >= $1 AND e.created_at < $2`, pgx.QueryExecModeSimpleProtocol, from, to).Scan(&text)
	if err != nil {
		return 0, fmt.Errorf("ask the planner: %w", err)
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"` //nolint:tagliatelle // Postgres's.
		} `json:"Plan"` //nolint:tagliatelle // Postgres's.
	}
	if err := json.Unmarshal(text, &plans); err != nil || len(plans) == 0 {
		return 0, fmt.Errorf("read the planner's answer: %w", err)
	}
	return int64(plans[0].Plan.Rows), nil
}
