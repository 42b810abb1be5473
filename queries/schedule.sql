-- name: ScheduleEnsure :exec
-- Makes the row of a periodic job that has never run, for ScheduleLock to lock.
INSERT INTO analytics.schedules (name, last_due_at) VALUES (@name, '-infinity') ON CONFLICT (name) DO NOTHING;

-- name: ScheduleLock :one
-- Whether a periodic job has still to do its work for an instant of its schedule; locked until the transaction ends.
SELECT (s.last_due_at < @due_at::timestamptz)::boolean AS due FROM analytics.schedules AS s WHERE s.name = @name FOR UPDATE;

-- name: ScheduleRecord :exec
UPDATE analytics.schedules SET last_due_at = greatest(last_due_at, @due_at::timestamptz), last_run_at = clock_timestamp() WHERE name = @name;

-- name: ScheduleOverdue :one
-- Whether a periodic job has not done its work for an instant of its schedule.
SELECT NOT EXISTS(SELECT FROM analytics.schedules AS s WHERE s.name = @name AND s.last_due_at >= @due_at::timestamptz);

-- name: ScheduleGaps :many
-- Dates of a range that are neither complete nor going to be: no request that is due, no run at work, and no backfill that
-- has them before it, at a pace of its own.
SELECT (cast(@first_date AS date) + i)::date AS metric_date
FROM generate_series(0, cast(@last_date AS date) - cast(@first_date AS date)) AS i
WHERE NOT EXISTS (
    SELECT FROM analytics.rollup_dates AS d
    WHERE d.metric_date = cast(@first_date AS date) + i
        AND (d.state = 'complete' OR d.state = 'running' AND d.heartbeat_at >= now() - interval '30 seconds')
)
AND NOT EXISTS (
    SELECT FROM analytics.backfill_dates AS w
    INNER JOIN analytics.backfills AS b ON b.id = w.backfill_id
    WHERE w.metric_date = cast(@first_date AS date) + i AND w.state IN ('waiting', 'requested')
        AND b.state IN ('running', 'paused')
)
AND NOT EXISTS (
    SELECT FROM analytics.rollup_requests AS q
    WHERE q.metric_date = cast(@first_date AS date) + i AND q.resolved_at IS NULL AND q.due_at <= now()
)
ORDER BY i;
