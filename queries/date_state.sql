-- name: DateStateList :many
-- The current state of a range's dates, after a date if one is given, earliest first. An empty state means any.
SELECT
    s.metric_date::date AS metric_date,
    s.state,
    s.completed_at,
    s.events,
    s.entities,
    s.open_requests
FROM analytics.date_states AS s
WHERE s.metric_date BETWEEN @first_date::date AND @last_date::date
    AND (@after_date::date IS NULL OR s.metric_date > @after_date::date)
    AND (@state::text = '' OR s.state = @state::text)
ORDER BY s.metric_date
LIMIT @max_rows::integer;

-- name: DateStateIncomplete :one
-- The number of a range's dates in the ledger that are not complete now, counted up to a bound.
SELECT count(*)::bigint AS dates
FROM (
    SELECT
    FROM analytics.date_states AS s
    WHERE s.metric_date BETWEEN @first_date::date AND @last_date::date AND s.state <> 'complete'
    LIMIT @max_rows::integer
) AS b;
