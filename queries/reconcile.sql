-- name: ReconcileNeeded :one
-- Whether requests and backfills need a transaction of the reconciler. The order makes Postgres look for the earliest due request in the index of open
-- requests: if it expects to find one soon, it reads the table from its beginning otherwise, and resolved requests come first there.
SELECT (
    coalesce((
        SELECT q.metric_date FROM analytics.rollup_requests AS q
        WHERE q.resolved_at IS NULL AND q.due_at <= now()
        ORDER BY q.metric_date, q.priority
        LIMIT 1
    ) < (SELECT analytics.date_of(least(@at_instant::timestamptz, now()))), false)
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
-- Past dates that need a job, with its priority. See the function's comment in the migration.
SELECT
    d.metric_date::date AS metric_date,
    d.priority::smallint AS priority
FROM analytics.dates_to_enqueue(least(@at_instant::timestamptz, now()), @rests::float8, @silence::interval, @max_rows::integer) AS d;

-- name: ReconcileRight :many
-- Reschedules jobs that a process whose clock was ahead has delayed for days; returns their ids.
SELECT daymill.right_jobs()::bigint AS job_id;

-- name: ReconcileReopen :execrows
-- Marks dates as incomplete that a process whose clock was ahead completed before they were over.
UPDATE analytics.rollup_dates
SET state = 'interrupted'
WHERE state = 'complete' AND completed_at < analytics.date_start(metric_date + 1);

-- name: ReconcileFew :many
-- Which of some dates a job of another date may take along, and how many events they had: those whose last run was complete and of few events, or
-- that had no run, and whose requests need no run of their own. None if metrics are partitioned, or may be distributed by Citus.
SELECT
    w.metric_date::date AS metric_date,
    coalesce(d.events, -1)::bigint AS events
FROM (SELECT unnest(@metric_dates::date[]) AS metric_date) AS w
LEFT JOIN analytics.rollup_dates AS d ON d.metric_date = w.metric_date
WHERE (d.metric_date IS NULL OR d.state = 'complete' AND d.events <= @most_events::bigint)
    AND NOT EXISTS (
        SELECT FROM analytics.rollup_requests AS q
        WHERE q.metric_date = w.metric_date AND q.resolved_at IS NULL AND q.due_at <= now() AND (q.erase OR q.entities IS NOT NULL)
    )
    AND (SELECT c.relkind <> 'p' FROM pg_catalog.pg_class AS c WHERE c.oid = 'analytics.daily_entity_metrics'::regclass)
    AND to_regclass('pg_catalog.pg_dist_partition') IS NULL;
