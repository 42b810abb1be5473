CREATE OR REPLACE VIEW analytics.date_states AS
SELECT
    coalesce(d.metric_date, r.metric_date) AS metric_date,
    (
        CASE
            WHEN d.state = 'running' AND d.heartbeat_at >= now() - interval '30 seconds' THEN 'running'
            WHEN r.due_requests > 0 AND d.state IN ('failed', 'interrupted', 'running') THEN 'retrying'
            WHEN r.due_requests > 0 THEN 'requested'
            WHEN d.state = 'running' THEN 'interrupted'
            WHEN d.state IS NULL THEN 'waiting'
            ELSE d.state
        END
    )::text AS state,
    d.completed_at,
    d.events,
    d.entities,
    d.run_id,
    d.heartbeat_at,
    coalesce(r.requests, 0)::bigint AS open_requests,
    -- When the first of the open requests is, or was, due.
    greatest(r.due_at, analytics.date_start(r.metric_date + 1))::timestamptz AS due_at
FROM analytics.rollup_dates AS d
FULL JOIN (
    SELECT
        q.metric_date,
        count(*) AS requests,
        count(*) FILTER (
            WHERE q.due_at <= now() AND q.metric_date < (SELECT analytics.date_of(now()))
        ) AS due_requests,
        min(q.due_at) AS due_at
    FROM analytics.rollup_requests AS q
    WHERE q.resolved_at IS NULL
    GROUP BY q.metric_date
) AS r ON r.metric_date = d.metric_date;
DROP INDEX analytics.rollup_requests_due;
