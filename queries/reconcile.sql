-- name: ReconcileNeeded :one
-- Whether a look at requests and backfills is worth a transaction.
SELECT (
    EXISTS(
        SELECT FROM analytics.rollup_requests AS q
        WHERE q.resolved_at IS NULL AND q.due_at <= now() AND q.metric_date < (SELECT analytics.date_of(least(@at_instant::timestamptz, now())))
    )
    OR EXISTS(SELECT FROM analytics.backfills AS b WHERE b.state = 'running')
    OR EXISTS(SELECT FROM analytics.backfills AS b WHERE b.state = 'cancelled' AND NOT b.cancel_told)
)::boolean AS needed;

-- name: ReconcileLock :one
-- One reconciler at a time; the lock goes with the transaction.
SELECT pg_try_advisory_xact_lock(@key::bigint);

-- name: ReconcileRescue :many
-- Jobs whose worker is dead go back to the queue; returns their dates.
SELECT analytics.rescue_jobs(@silence)::date AS metric_date;

-- name: ReconcileTouch :many
-- Jobs of runs that are alive say so to whoever looks for stuck jobs; returns their dates.
SELECT analytics.touch_jobs(@silence, @older)::date AS metric_date;

-- name: ReconcilePromote :many
-- Jobs that would begin later than what is asked for of their dates begin now, or move up; returns their dates.
SELECT analytics.promote_jobs(least(@at_instant::timestamptz, now()), @silence)::date AS metric_date;

-- name: ReconcileDates :many
-- Dates that are over and have an open request that is due, but no job and no live run to satisfy it. Requests of the
-- triggers on the source rest after a run for as many times as long as it took, so that one run serves a trickle of late events;
-- the first one of a quiet date does not wait. Nor does one that is about some entities after a run that was not: it is much less
-- work.
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
-- Brings jobs forward that a process whose clock was ahead has put off for days; returns their ids.
SELECT daymill.right_jobs()::bigint AS job_id;

-- name: ReconcileReopen :execrows
-- Dates that were completed before they were over, by a process whose clock was ahead: they are not complete.
UPDATE analytics.rollup_dates
SET state = 'interrupted'
WHERE state = 'complete' AND completed_at < analytics.date_start(metric_date + 1);
