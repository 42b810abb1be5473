DROP FUNCTION analytics.dates_to_enqueue(timestamptz, double precision, interval, integer);

DO $remove$
DECLARE
    river_schema text := (SELECT i.river_schema FROM analytics.installation AS i);
BEGIN
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
                    due.metric_date,
                    due.priority,
                    b.begins
                FROM (
                    SELECT
                        q.metric_date,
                        min(q.priority) AS priority,
                        max(greatest(q.requested_at, q.due_at)) FILTER (WHERE q.priority = 1) AS asked_at
                    FROM analytics.rollup_requests AS q
                    WHERE q.resolved_at IS NULL AND q.due_at <= now()
                        AND q.metric_date < (SELECT analytics.date_of(at_instant))
                        AND NOT EXISTS (
                            SELECT FROM analytics.rollup_dates AS d
                            WHERE d.metric_date = q.metric_date AND d.state = 'running' AND d.heartbeat_at >= now() - silence
                        )
                    GROUP BY q.metric_date
                ) AS due
                INNER JOIN %1$I.river_job AS r
                    ON r.kind = 'rollup_day' AND r.state IN ('available', 'retryable', 'scheduled')
                        AND analytics.job_date(r.args) = due.metric_date
                -- River calls a job that has failed available, too, where its backoff is but a second.
                CROSS JOIN LATERAL (
                    SELECT (r.state = 'scheduled' OR r.scheduled_at > now()) AND (
                        coalesce(array_upper(r.errors, 1), 0) = 0
                        OR coalesce(r.attempted_at < due.asked_at AND r.attempted_at < now() - interval '1 minute', false)
                    ) AS begins
                ) AS b
                WHERE b.begins OR r.state = 'available' AND r.priority > due.priority
                FOR UPDATE OF r SKIP LOCKED
            ) AS late
            WHERE j.id = late.id
            RETURNING late.metric_date
        $$
    $create$, river_schema);
END
$remove$;

DROP INDEX analytics.rollup_requests_next;
DROP INDEX analytics.rollup_requests_open;
CREATE INDEX rollup_requests_open ON analytics.rollup_requests (metric_date, id) WHERE resolved_at IS NULL;
