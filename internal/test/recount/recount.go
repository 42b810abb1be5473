// Package recount compares the metrics of dates with a plain count of their events. Tests and benchmarks end with it. It has no slices, passes
// and batches, and shares no query with the code that it judges.
package recount

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/postgres"
)

// Recount is what was counted. Compare it with known figures, because without any events everything is exact.
type Recount struct {
	Dates  int64 // dates that have metrics
	Rows   int64 // pairs of a date and an entity
	Events int64 // the sum of all counts
}

// ErrDiffers says that metrics differ from their events. The error that wraps it has the first rows that differ.
var ErrDiffers = errors.New("the metrics differ from a recount (date, entity, views, clicks, saves, skips, other)")

// differenceSQL lists the rows in which the metrics of dates and a plain count of their events differ.
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
	FROM %s AS m
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
FROM %s AS m
WHERE m.metric_date = ANY ($1::date[])`

// eventsSQL counts the events of dates.
const eventsSQL = `
SELECT coalesce(sum((
	SELECT count(*) FROM analytics.events AS e
	WHERE e.created_at >= analytics.date_start(d) AND e.created_at < analytics.date_start(d + 1) AND e.entity_id IS NOT NULL
)), 0)::bigint
FROM unnest($1::date[]) AS d`

// Metrics is the table that Daymill writes, for Compare.
func Metrics() pgx.Identifier { return pgx.Identifier{"analytics", "daily_entity_metrics"} }

// Compare returns ErrDiffers unless the rows of the dates, in a table with the definition of [Metrics], equal a plain count of their events, row
// for row, and all counts add up to the number of events.
func Compare(ctx context.Context, on postgres.DBTX, table pgx.Identifier, dates []date.Date) (Recount, error) {
	var events int64
	if err := on.QueryRow(ctx, eventsSQL, dates).Scan(&events); err != nil {
		return Recount{}, fmt.Errorf("count events: %w", err)
	}
	rows, err := on.Query(ctx, fmt.Sprintf(differenceSQL, table.Sanitize()), dates)
	if err != nil {
		return Recount{}, fmt.Errorf("compare metrics: %w", err)
	}
	differences, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return Recount{}, fmt.Errorf("compare metrics: %w", err)
	}
	if len(differences) > 0 {
		return Recount{}, fmt.Errorf("%w:\n%s", ErrDiffers, strings.Join(differences, "\n"))
	}
	var recount Recount
	err = on.QueryRow(ctx, fmt.Sprintf(sumSQL, table.Sanitize()), dates).Scan(&recount.Dates, &recount.Rows, &recount.Events)
	if err != nil {
		return Recount{}, fmt.Errorf("add up metrics: %w", err)
	}
	if recount.Events != events {
		return Recount{}, fmt.Errorf("%w: the sum of all counts is %d, not %d", ErrDiffers, recount.Events, events)
	}
	return recount, nil
}
