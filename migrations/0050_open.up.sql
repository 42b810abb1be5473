-- The states of dates cost no more with many open requests than with few: the first due request of each date is found in an index, and the walk
-- from one requested date to the next (a loose index scan) reads one entry per date. Every page, /metrics and `daymill status` read this view.
CREATE INDEX rollup_requests_due ON analytics.rollup_requests (metric_date, due_at) WHERE resolved_at IS NULL;

-- EXECUTE, because sqlc does not know WITH RECURSIVE in a view. The columns are those of 0003_ledger.
DO $install$
BEGIN
    EXECUTE $create$
        CREATE OR REPLACE VIEW analytics.date_states AS
        SELECT
            coalesce(d.metric_date, r.metric_date) AS metric_date,
            (
                CASE
                    WHEN d.state = 'running' AND d.heartbeat_at >= now() - interval '30 seconds' THEN 'running'
                    WHEN r.is_due AND d.state IN ('failed', 'interrupted', 'running') THEN 'retrying'
                    WHEN r.is_due THEN 'requested'
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
            -- Up to 1,000. Postgres counts only if a query reads this column.
            (
                SELECT count(*)
                FROM (
                    SELECT
                    FROM analytics.rollup_requests AS q
                    WHERE q.metric_date = r.metric_date AND q.resolved_at IS NULL
                    LIMIT 1000
                ) AS o
            )::bigint AS open_requests,
            -- When the first of the open requests is, or was, due.
            greatest(r.due_at, analytics.date_start(r.metric_date + 1))::timestamptz AS due_at
        FROM analytics.rollup_dates AS d
        FULL JOIN (
            WITH RECURSIVE requested AS (
                (
                    SELECT
                        q.metric_date,
                        q.due_at
                    FROM analytics.rollup_requests AS q
                    WHERE q.resolved_at IS NULL
                    ORDER BY q.metric_date, q.due_at
                    LIMIT 1
                )
                UNION ALL
                SELECT
                    n.metric_date,
                    n.due_at
                FROM requested AS p
                CROSS JOIN LATERAL (
                    SELECT
                        q.metric_date,
                        q.due_at
                    FROM analytics.rollup_requests AS q
                    WHERE q.resolved_at IS NULL AND q.metric_date > p.metric_date
                    ORDER BY q.metric_date, q.due_at
                    LIMIT 1
                ) AS n
            )

            SELECT
                w.metric_date,
                w.due_at,
                (w.due_at <= now() AND w.metric_date < (SELECT analytics.date_of(now()))) AS is_due
            FROM requested AS w
        ) AS r ON r.metric_date = d.metric_date
    $create$;
END
$install$;
