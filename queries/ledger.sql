-- name: LedgerDates :one
-- The number of dates in each state, as CalendarStates counts them, and the first and last complete date.
SELECT
    (count(*) FILTER (WHERE s.state = 'complete'))::bigint AS complete,
    (count(*) FILTER (WHERE s.state = 'running'))::bigint AS running,
    (count(*) FILTER (WHERE s.state = 'requested'))::bigint AS requested,
    (count(*) FILTER (WHERE s.state = 'waiting'))::bigint AS waiting,
    (count(*) FILTER (WHERE s.state IN ('retrying', 'interrupted')))::bigint AS retrying,
    (count(*) FILTER (WHERE s.state = 'failed'))::bigint AS failed,
    (count(*) FILTER (WHERE s.state = 'cancelled'))::bigint AS cancelled,
    (count(*) FILTER (WHERE s.state = 'stale'))::bigint AS stale,
    (count(*) FILTER (WHERE s.state = 'protected'))::bigint AS protected,
    (min(s.metric_date) FILTER (WHERE s.state = 'complete'))::date AS first_complete,
    (max(s.metric_date) FILTER (WHERE s.state = 'complete'))::date AS last_complete
FROM analytics.date_states AS s
WHERE NOT (s.state IN ('failed', 'cancelled', 'interrupted', 'stale', 'protected') AND s.metric_date < (SELECT analytics.metrics_from(now())));

-- name: LedgerNextDue :one
-- When the first waiting request is due, of dates without an earlier due time.
SELECT s.due_at FROM analytics.date_states AS s WHERE s.state = 'waiting' AND isfinite(s.due_at) ORDER BY s.due_at LIMIT 1;

-- name: LedgerRuns :many
-- The newest runs, newest first.
SELECT r.* FROM analytics.rollup_runs AS r ORDER BY r.id DESC LIMIT @max_rows::integer;

-- name: LedgerBroken :many
-- Dates that need a person, with the error of their last run, latest first.
SELECT
    d.metric_date,
    d.state,
    (CASE
        WHEN d.state = 'stale' THEN 'its rows do not match its events: see `daymill verify ' || d.metric_date || '`'
        ELSE coalesce(r.error, '')
    END)::text AS error
FROM analytics.rollup_dates AS d
LEFT JOIN analytics.rollup_runs AS r ON r.id = d.run_id
WHERE d.state IN ('failed', 'cancelled', 'stale') AND d.metric_date >= (SELECT analytics.metrics_from(now()))
ORDER BY d.metric_date DESC
LIMIT @max_rows::integer;

-- name: LedgerGauges :one
-- Figures for clients that read them every few seconds: from indexes on open rows, and from small tables. Open requests are counted up to a bound.
SELECT
    o.requests AS open_requests,
    o.oldest_due_seconds,
    b.running AS backfills_running,
    b.paused AS backfills_paused,
    b.dates_left AS backfill_dates_left,
    s.last_run_at AS daily_last_run_at,
    coalesce(s.paused, false)::boolean AS daily_paused
FROM (
    SELECT
        (
            SELECT count(*)
            FROM (SELECT FROM analytics.rollup_requests AS q WHERE q.resolved_at IS NULL LIMIT 100000) AS e
        )::bigint AS requests,
        coalesce(
            (SELECT extract(EPOCH FROM now() - min(t.due_at)) FROM analytics.date_states AS t WHERE t.due_at <= now()), 0
        )::double precision AS oldest_due_seconds
) AS o
CROSS JOIN (
    SELECT
        (count(*) FILTER (WHERE f.state = 'running'))::bigint AS running,
        (count(*) FILTER (WHERE f.state = 'paused'))::bigint AS paused,
        coalesce(sum(f.dates), 0)::bigint AS dates_left
    FROM (
        SELECT
            g.state,
            (
                SELECT count(*) FROM analytics.backfill_dates AS d
                WHERE d.backfill_id = g.id AND d.state IN ('waiting', 'requested')
            ) AS dates
        FROM analytics.backfills AS g
        WHERE g.state IN ('running', 'paused')
    ) AS f
) AS b
LEFT JOIN (
    SELECT
        c.last_run_at,
        (c.paused_at IS NOT NULL)::boolean AS paused
    FROM daymill.schedules AS c
    WHERE c.name = @schedule
) AS s ON true;
