-- name: CalendarStates :many
-- The number of dates in each state, with the first and last of each. A date whose metrics are no longer kept needs nobody, so it counts only if it
-- is complete or about to be rolled up.
SELECT
    s.state,
    count(*) AS dates,
    min(s.metric_date)::date AS first_date,
    max(s.metric_date)::date AS last_date
FROM analytics.date_states AS s
WHERE NOT (s.state IN ('failed', 'cancelled', 'interrupted', 'stale', 'protected') AND s.metric_date < (SELECT analytics.metrics_from(now())))
GROUP BY s.state
ORDER BY s.state;

-- name: CalendarDates :many
-- The dates of a range in the ledger, and those that a running backfill has yet to request.
SELECT
    s.metric_date::date AS metric_date,
    s.state,
    coalesce(s.events, 0)::bigint AS events
FROM analytics.date_states AS s
WHERE s.metric_date BETWEEN @first_date::date AND @last_date::date
UNION ALL
SELECT
    w.metric_date,
    'planned'::text AS state,
    0::bigint AS events
FROM analytics.backfills AS b
INNER JOIN analytics.backfill_dates AS w ON w.backfill_id = b.id
WHERE b.state IN ('running', 'paused') AND w.state = 'waiting'
    AND w.metric_date BETWEEN @first_date::date AND @last_date::date
    AND NOT EXISTS (SELECT FROM analytics.rollup_dates AS d WHERE d.metric_date = w.metric_date)
ORDER BY metric_date;

-- name: CalendarFailures :many
-- The dates whose last run failed, with its error, latest failure first.
SELECT
    s.metric_date::date AS metric_date,
    s.state,
    r.finished_at,
    r.job_id,
    left(coalesce(r.error, ''), 1000)::text AS error
FROM analytics.date_states AS s
LEFT JOIN analytics.rollup_runs AS r ON r.id = s.run_id
WHERE s.state IN ('failed', 'retrying', 'cancelled', 'interrupted')
ORDER BY r.finished_at DESC NULLS LAST, s.metric_date DESC
LIMIT @max_rows::integer;

-- name: BackfillOpen :many
-- Running and paused backfills with their progress, newest first.
SELECT
    sqlc.embed(b),
    c.dates,
    c.requested,
    c.complete,
    c.failed,
    c.cancelled,
    c.protected,
    c.seconds_per_date
FROM analytics.backfills AS b
CROSS JOIN LATERAL (
    SELECT
        count(*)::bigint AS dates,
        (count(*) FILTER (WHERE d.state = 'requested'))::bigint AS requested,
        (count(*) FILTER (WHERE d.state = 'complete'))::bigint AS complete,
        (count(*) FILTER (WHERE d.state = 'failed'))::bigint AS failed,
        (count(*) FILTER (WHERE d.state = 'cancelled'))::bigint AS cancelled,
        (count(*) FILTER (WHERE d.state = 'protected'))::bigint AS protected,
        coalesce(
            avg(extract(EPOCH FROM d.finished_at - d.requested_at)) FILTER (WHERE d.state = 'complete'), 0
        )::double precision AS seconds_per_date
    FROM analytics.backfill_dates AS d
    WHERE d.backfill_id = b.id
) AS c
WHERE b.state IN ('running', 'paused')
ORDER BY b.id DESC
LIMIT @max_rows::integer;
