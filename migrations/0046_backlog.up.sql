-- Many open requests cost the reconciler no more than what it takes of them. It finds requested dates by priority, and the requests of a date by
-- priority and age, both in an index.
DROP INDEX analytics.rollup_requests_open;
CREATE INDEX rollup_requests_open ON analytics.rollup_requests (metric_date, priority, (greatest(requested_at, due_at))) WHERE resolved_at IS NULL;
CREATE INDEX rollup_requests_next ON analytics.rollup_requests (priority, metric_date) WHERE resolved_at IS NULL;

DO $install$
DECLARE
    river_schema text := (SELECT i.river_schema FROM analytics.installation AS i);
BEGIN
    -- Past dates that have a due request, and neither a job nor a live run to satisfy it: of each priority as many as still wait for a job, if fewer
    -- than max_rows jobs would go before theirs. More are of no use until some of those have run. The newest dates come first.
    --
    -- After a run, requests of the triggers on the source wait for a multiple of the run's duration (rests), so that one run serves a trickle of late
    -- events. The first request of a quiet date does not wait. Nor does a request for some entities after a run of the whole date, because it is
    -- much less work.
    --
    -- The walk from one requested date to the next is what the PostgreSQL wiki calls a loose index scan: it reads one entry of the index per date.
    EXECUTE format($create$
        CREATE FUNCTION analytics.dates_to_enqueue(at_instant timestamptz, rests double precision, silence interval, max_rows integer)
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
                                WHERE d.metric_date = r.metric_date AND n.finished_at + (n.finished_at - n.started_at) * rests > now()
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

    -- As before, but it begins with the jobs that wait, of which there are few, and looks up the requests of their dates. A job that is available,
    -- due and of the first priority cannot be promoted any further.
    EXECUTE format($create$
        CREATE OR REPLACE FUNCTION analytics.promote_jobs(at_instant timestamptz, silence interval)
        RETURNS SETOF date
        LANGUAGE sql SET search_path = pg_catalog, pg_temp
        AS $$
            UPDATE %1$I.river_job AS j
            SET
                state = 'available',
                scheduled_at = CASE WHEN late.begins THEN now() ELSE j.scheduled_at END,
                priority = least(j.priority, late.priority),
                max_attempts = CASE WHEN late.begins AND j.attempt > 0 THEN least(j.max_attempts + 1, 32000) ELSE j.max_attempts END,
                -- Not a wish of the job's own: see analytics.request_from_job_change.
                metadata = j.metadata || '{"daymill": "promoted"}'
            FROM (
                SELECT
                    r.id,
                    x.metric_date,
                    due.priority,
                    b.begins
                FROM %1$I.river_job AS r
                CROSS JOIN LATERAL (SELECT analytics.job_date(r.args) AS metric_date) AS x
                CROSS JOIN LATERAL (
                    SELECT q.priority
                    FROM analytics.rollup_requests AS q
                    WHERE q.metric_date = x.metric_date AND q.resolved_at IS NULL AND q.due_at <= now()
                    ORDER BY q.priority
                    LIMIT 1
                ) AS due
                -- River calls a job that has failed available, too, where its backoff is but a second.
                CROSS JOIN LATERAL (
                    SELECT (r.state = 'scheduled' OR r.scheduled_at > now()) AND (
                        coalesce(array_upper(r.errors, 1), 0) = 0
                        OR coalesce(r.attempted_at < now() - interval '1 minute', false) AND EXISTS (
                            SELECT FROM analytics.rollup_requests AS q
                            WHERE q.metric_date = x.metric_date AND q.resolved_at IS NULL AND q.due_at <= now() AND q.priority = 1
                                AND greatest(q.requested_at, q.due_at) > r.attempted_at
                        )
                    ) AS begins
                ) AS b
                WHERE r.kind = 'rollup_day' AND r.state IN ('available', 'retryable', 'scheduled')
                    AND (r.state <> 'available' OR r.priority > 1 OR r.scheduled_at > now())
                    AND x.metric_date < (SELECT analytics.date_of(at_instant))
                    AND NOT EXISTS (
                        SELECT FROM analytics.rollup_dates AS d
                        WHERE d.metric_date = x.metric_date AND d.state = 'running' AND d.heartbeat_at >= now() - silence
                    )
                    AND (b.begins OR r.state = 'available' AND r.priority > due.priority)
                FOR UPDATE OF r SKIP LOCKED
            ) AS late
            WHERE j.id = late.id
            RETURNING late.metric_date
        $$
    $create$, river_schema);
END
$install$;
REVOKE ALL ON FUNCTION analytics.dates_to_enqueue(timestamptz, double precision, interval, integer) FROM PUBLIC;
