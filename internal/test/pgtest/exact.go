package pgtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/test/recount"
)

// Recount is what RequireExact counted. A test compares it with known figures, because without any events everything is exact.
type Recount = recount.Recount

// RequireExact fails the test unless the metrics of the dates equal a plain recount of their events, row for row, and all counts add up to the
// number of events. Without dates, it checks every date that has events or metrics, and all events. It returns what it counted.
func RequireExact(tb testing.TB, on postgres.DBTX, dates ...date.Date) Recount {
	tb.Helper()
	counted, err := Exact(tb.Context(), on, dates...)
	require.NoError(tb, err)
	return counted
}

// Exact is like RequireExact, but returns an error that says what differs.
func Exact(ctx context.Context, on postgres.DBTX, dates ...date.Date) (Recount, error) {
	if len(dates) > 0 {
		return recount.Compare(ctx, on, recount.Metrics(), dates)
	}
	dates, err := allDates(ctx, on)
	if err != nil {
		return Recount{}, err
	}
	counted, err := recount.Compare(ctx, on, recount.Metrics(), dates)
	if err != nil {
		return Recount{}, err
	}
	var events int64
	err = on.QueryRow(ctx, "SELECT count(*) FROM analytics.events WHERE entity_id IS NOT NULL").Scan(&events)
	if err != nil {
		return Recount{}, fmt.Errorf("count the events: %w", err)
	}
	if counted.Events != events {
		return Recount{}, fmt.Errorf("all counts add up to %d, and there are %d events", counted.Events, events)
	}
	return counted, nil
}

func allDates(ctx context.Context, on postgres.DBTX) ([]date.Date, error) {
	rows, err := on.Query(ctx, `
		SELECT b.first + i
		FROM (
			SELECT analytics.date_of(min(e.created_at)) AS first, analytics.date_of(max(e.created_at)) AS last
			FROM analytics.events AS e WHERE e.entity_id IS NOT NULL
		) AS b, generate_series(0, b.last - b.first) AS i
		UNION
		SELECT m.metric_date FROM analytics.daily_entity_metrics AS m`)
	if err != nil {
		return nil, fmt.Errorf("list the dates: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[date.Date])
}
