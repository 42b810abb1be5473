package pgtest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
)

// Recount is what RequireExact counted, for a test to compare with the figures it knows: of no events at all, nothing is
// exact by itself.
type Recount struct {
	Dates  int64 // dates that have events
	Rows   int64 // pairs of a date and an entity
	Events int64
}

// differenceSQL lists the rows in which the metrics of dates and a plain count of their events differ. It knows nothing
// of slices, passes and batches, and shares no query with the code under test.
const differenceSQL = `
WITH bounds AS MATERIALIZED (
	SELECT d AS metric_date, analytics.date_start(d) AS from_instant, analytics.date_start(d + 1) AS to_instant
	FROM unnest($1::date[]) AS d
),
per_type AS (
	SELECT b.metric_date, e.entity_id, coalesce(e.event_type, 'unknown') AS event_type, count(*) AS events
	FROM bounds AS b
	INNER JOIN analytics.events AS e ON e.created_at >= b.from_instant AND e.created_at < b.to_instant
	WHERE e.entity_id IS NOT NULL
	GROUP BY 1, 2, 3
),
expected AS MATERIALIZED (
	SELECT
		metric_date,
		entity_id,
		coalesce(sum(events) FILTER (WHERE event_type = 'view'), 0)::bigint AS views,
		coalesce(sum(events) FILTER (WHERE event_type = 'click'), 0)::bigint AS clicks,
		coalesce(sum(events) FILTER (WHERE event_type = 'save'), 0)::bigint AS saves,
		coalesce(sum(events) FILTER (WHERE event_type = 'skip'), 0)::bigint AS skips,
		coalesce(
			jsonb_object_agg(event_type, events) FILTER (WHERE event_type NOT IN ('view', 'click', 'save', 'skip')), '{}'
		) AS other
	FROM per_type
	GROUP BY metric_date, entity_id
),
actual AS MATERIALIZED (
	SELECT
		m.metric_date,
		m.entity_id,
		m.views_count::bigint AS views,
		m.clicks_count::bigint AS clicks,
		m.saves_count::bigint AS saves,
		m.skips_count::bigint AS skips,
		m.other_counts AS other
	FROM analytics.daily_entity_metrics AS m
	INNER JOIN bounds AS b ON b.metric_date = m.metric_date
)
SELECT 'missing: ' || r::text FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM actual) AS r
UNION ALL
SELECT 'too many: ' || r::text FROM (SELECT * FROM actual EXCEPT ALL SELECT * FROM expected) AS r
ORDER BY 1
LIMIT 20`

// sumSQL adds up all counts of dates.
const sumSQL = `
SELECT
	count(DISTINCT m.metric_date),
	count(*),
	coalesce(sum(
		m.views_count::bigint + m.clicks_count + m.saves_count + m.skips_count
		+ (SELECT coalesce(sum(o.value::bigint), 0) FROM jsonb_each_text(m.other_counts) AS o)
	), 0)::bigint
FROM analytics.daily_entity_metrics AS m
WHERE m.metric_date = ANY ($1::date[])`

// eventsSQL counts the events of dates.
const eventsSQL = `
SELECT coalesce(sum((
	SELECT count(*) FROM analytics.events AS e
	WHERE e.created_at >= analytics.date_start(d) AND e.created_at < analytics.date_start(d + 1) AND e.entity_id IS NOT NULL
)), 0)::bigint
FROM unnest($1::date[]) AS d`

// RequireExact fails the test unless the metrics of the dates equal a plain recount of their events, row for row, and
// all counts add up to the number of events. Without dates it takes every date that has events or metrics, and all
// events there are. It returns what it counted.
func RequireExact(tb testing.TB, on postgres.DBTX, dates ...date.Date) Recount {
	tb.Helper()
	recount, err := Exact(tb.Context(), on, dates...)
	require.NoError(tb, err)
	return recount
}

// Exact is RequireExact for where there is no test to fail: its error says what differs.
func Exact(ctx context.Context, on postgres.DBTX, dates ...date.Date) (recount Recount, err error) {
	var events int64
	if len(dates) == 0 {
		if dates, err = allDates(ctx, on); err != nil {
			return recount, err
		}
		err = on.QueryRow(ctx, "SELECT count(*) FROM analytics.events WHERE entity_id IS NOT NULL").Scan(&events)
	} else {
		err = on.QueryRow(ctx, eventsSQL, dates).Scan(&events)
	}
	if err != nil {
		return recount, fmt.Errorf("count the events: %w", err)
	}

	rows, err := on.Query(ctx, differenceSQL, dates)
	if err != nil {
		return recount, fmt.Errorf("compare: %w", err)
	}
	differences, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return recount, fmt.Errorf("compare: %w", err)
	}
	if len(differences) > 0 {
		return recount, fmt.Errorf("the metrics differ from a recount (date, entity, views, clicks, saves, skips, other):\n%s",
			strings.Join(differences, "\n"))
	}

	err = on.QueryRow(ctx, sumSQL, dates).Scan(&recount.Dates, &recount.Rows, &recount.Events)
	if err != nil {
		return recount, fmt.Errorf("add up: %w", err)
	}
	if recount.Events != events {
		return recount, fmt.Errorf("all counts add up to %d, and there are %d events", recount.Events, events)
	}
	return recount, nil
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
