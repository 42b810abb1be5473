-- name: ReconcileNeeded :one
-- Whether requests and backfills need a transaction of the reconciler.
SELECT (
    EXISTS(
        SELECT FROM analytics.rollup_requests AS q
        WHERE q.resolved_at IS NULL AND q.due_at <= now() AND q.metric_date < (SELECT analytics.date_of(least(@at_instant::timestamptz, now())))
    )
    OR EXISTS(SELECT FROM analytics.backfills AS b WHERE b.state = 'running')
    OR EXISTS(SELECT FROM analytics.backfills AS b WHERE b.state = 'cancelled' AND NOT b.cancel_told)
)::boolean AS needed;

-- name: ReconcileLock :one
-- One reconciler at a time; the lock ends with the transaction.
SELECT pg_try_advisory_xact_lock(@key::bigint);

-- name: ReconcileRescue :many
-- Jobs whose worker is dead go back to the queue; returns their dates.
SELECT analytics.rescue_jobs(@silence)::date AS metric_date;

-- name: ReconcileTouch :many
-- Marks the jobs of live runs as alive, for tools that look for stuck jobs; returns their dates.
SELECT analytics.touch_jobs(@silence, @older)::date AS metric_date;

-- name: ReconcilePromote :many
-- Makes jobs start now, or earlier, if their dates have requests that are due before them; returns their dates.
SELECT analytics.promote_jobs(least(@at_instant::timestamptz, now()), @silence)::date AS metric_date;

-- name: ReconcileDates :many
-- Past dates that have an open request that is due, but no job and no live run to satisfy it. After a run, requests of the triggers on the source
-- wait for a multiple of the run's duration, so that one run serves a trickle of late events. The first request of a quiet date does not wait. Nor
-- does a request for some entities after a run of the whole date, because it is much less work.
SELECT
    q.metric_date,
    min(q.priority)::smallint AS priority
FROM analytics.rollup_requests AS q
WHERE q.resolved_at IS NULL AND q.due_at <= now()
    AND q.metric_date < (SELECT analytics.date_of(least(@at_instant::timestamptz, now())))
    AND (q.requested_via <> 'watch' OR NOT EXISTS (
        SELECT FROM analytics.rollup_dates AS d
        INNER JOIN analytics.rollup_runs AS n ON n.id = d.run_id
        WHERE d.metric_date = q.metric_date AND n.finished_at + (n.finished_at - n.started_at) * @rests::float8 > now()
            AND (q.entities IS NULL OR n.scope IS NOT NULL)
    ))
    AND NOT EXISTS (
        SELECT FROM analytics.rollup_dates AS d
        WHERE d.metric_date = q.metric_date AND d.state = 'running' AND d.heartbeat_at >= now() - @silence::interval
    )
    AND q.metric_date NOT IN (SELECT analytics.dates_with_job())
GROUP BY q.metric_date
ORDER BY min(q.priority), q.metric_date DESC
LIMIT @max_rows::integer;

-- name: ReconcileRight :many
-- Reschedules jobs that a process whose clock was ahead has delayed for days; returns their ids.
SELECT daymill.right_jobs()::bigint AS job_id;

-- name: ReconcileReopen :execrows
-- Marks dates as incomplete that a process whose clock was ahead completed before they were over.
UPDATE analytics.rollup_dates
SET state = 'interrupted'
WHERE state = 'complete' AND completed_at < analytics.date_start(metric_date + 1);
