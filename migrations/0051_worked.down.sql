-- As in migration 48.
DO $install$
DECLARE
    river_schema text := (SELECT i.river_schema FROM analytics.installation AS i);
BEGIN
    EXECUTE format($create$
        CREATE OR REPLACE FUNCTION analytics.dates_to_enqueue(at_instant timestamptz, rests double precision, silence interval, max_rows integer)
        RETURNS TABLE (metric_date date, priority smallint)
        LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
        AS $$
            SELECT
                due.metric_date,
                min(p.priority) AS priority
            FROM (VALUES (1::smallint), (2::smallint), (3::smallint), (4::smallint)) AS p (priority)
            CROSS JOIN LATERAL (
                WITH RECURSIVE requested AS (
                    (
                        SELECT q.metric_date
                        FROM analytics.rollup_requests AS q
                        WHERE q.resolved_at IS NULL AND q.priority = p.priority AND q.metric_date < (SELECT analytics.date_of(at_instant))
                        ORDER BY q.metric_date DESC
                        LIMIT 1
                    )
                    UNION ALL
                    SELECT (
                        SELECT q.metric_date
                        FROM analytics.rollup_requests AS q
                        WHERE q.resolved_at IS NULL AND q.priority = p.priority AND q.metric_date < r.metric_date
                        ORDER BY q.metric_date DESC
                        LIMIT 1
                    )
                    FROM requested AS r
                    WHERE r.metric_date IS NOT NULL
                )
                SELECT r.metric_date
                FROM requested AS r
                WHERE r.metric_date NOT IN (SELECT analytics.dates_with_job())
                    AND NOT EXISTS (
                        SELECT FROM analytics.rollup_dates AS d
                        WHERE d.metric_date = r.metric_date AND d.state = 'running' AND d.heartbeat_at >= now() - silence
                    )
                    AND EXISTS (
                        SELECT FROM analytics.rollup_requests AS q
                        WHERE q.metric_date = r.metric_date AND q.resolved_at IS NULL AND q.priority = p.priority AND q.due_at <= now()
                            AND (q.requested_via <> 'watch' OR NOT EXISTS (
                                SELECT FROM analytics.rollup_dates AS d
                                INNER JOIN analytics.rollup_runs AS n ON n.id = d.run_id
                                WHERE d.metric_date = r.metric_date AND n.finished_at + least(
                                        n.finished_at - n.started_at, (n.worked_ms + n.paused_ms + 1000) * interval '1 ms'
                                    ) * rests > now()
                                    AND (q.entities IS NULL OR n.scope IS NOT NULL)
                            ))
                    )
                LIMIT greatest(max_rows - (
                    SELECT count(*) FROM %1$I.river_job AS j
                    WHERE j.kind = 'rollup_day' AND j.state = 'available' AND j.priority <= p.priority
                ), 0)
            ) AS due
            GROUP BY due.metric_date
            ORDER BY min(p.priority), due.metric_date DESC
            LIMIT max_rows
        $$
    $create$, river_schema);
END
$install$;
