-- name: LedgerDateList :many
-- Dates with the figures of their last completion: those before a date, latest first, or those after a date, earliest first. An empty state
-- means any; incomplete and failing are groups of states.
WITH page AS (
    SELECT
        s.metric_date,
        s.state
    FROM analytics.date_states AS s
    WHERE (
            @state::text = '' OR s.state = @state::text
            OR @state::text = 'incomplete' AND s.state <> 'complete'
            OR @state::text = 'failing' AND s.state IN ('failed', 'retrying', 'cancelled', 'interrupted')
        )
        AND s.metric_date BETWEEN @first_date::date AND @last_date::date
        AND (sqlc.narg('before_date')::date IS NULL OR s.metric_date < sqlc.narg('before_date')::date)
        AND (sqlc.narg('after_date')::date IS NULL OR s.metric_date > sqlc.narg('after_date')::date)
    ORDER BY
        CASE WHEN sqlc.narg('after_date')::date IS NOT NULL THEN s.metric_date END,
        s.metric_date DESC
    LIMIT @max_rows::integer
)

SELECT
    p.metric_date::date AS metric_date,
    p.state,
    d.completed_at,
    coalesce(d.events, 0)::bigint AS events,
    coalesce(d.entities, 0)::bigint AS entities,
    coalesce(r.rows_inserted + r.rows_updated + r.rows_deleted, 0)::bigint AS rows_changed,
    (coalesce(r.worked_ms, 0) + coalesce(r.paused_ms, 0))::bigint AS took_ms
FROM page AS p
LEFT JOIN analytics.rollup_dates AS d ON d.metric_date = p.metric_date
LEFT JOIN analytics.rollup_runs AS r ON r.id = d.complete_run_id
ORDER BY p.metric_date DESC;

-- name: LedgerDateGet :one
-- The state of a date in the ledger. A missing due time is the epoch.
SELECT
    s.state,
    s.open_requests,
    coalesce(CASE WHEN isfinite(s.due_at) THEN s.due_at END, 'epoch')::timestamptz AS due_at,
    d.completed_at,
    d.complete_run_id,
    coalesce(s.run_id, 0)::bigint AS run_id,
    coalesce(d.events, 0)::bigint AS events,
    coalesce(d.entities, 0)::bigint AS entities
FROM analytics.date_states AS s
LEFT JOIN analytics.rollup_dates AS d ON d.metric_date = s.metric_date
WHERE s.metric_date = @metric_date::date;

-- name: LedgerDateRuns :many
-- Runs of a date before a run, newest first.
SELECT r.*
FROM analytics.rollup_runs AS r
WHERE r.metric_date = @metric_date::date AND r.id < @before_id::bigint
ORDER BY r.id DESC
LIMIT @max_rows::integer;

-- name: LedgerDateRunsAfter :many
-- Runs of a date after a run, oldest first.
SELECT r.*
FROM analytics.rollup_runs AS r
WHERE r.metric_date = @metric_date::date AND r.id > @after_id::bigint
ORDER BY r.id
LIMIT @max_rows::integer;

-- name: LedgerRunGet :many
-- Some runs by their numbers.
SELECT r.* FROM analytics.rollup_runs AS r WHERE r.id = ANY(@ids::bigint[]) ORDER BY r.id;

-- name: LedgerJobRuns :many
-- The runs of a job, newest first. They are found by its date.
SELECT r.*
FROM analytics.rollup_runs AS r
WHERE r.metric_date = @metric_date::date AND r.job_id = @job_id::bigint
ORDER BY r.id DESC
LIMIT @max_rows::integer;

-- name: LedgerDateRequests :many
-- The open requests of a date, oldest first.
SELECT
    q.id,
    q.requested_at,
    coalesce(CASE WHEN isfinite(q.due_at) THEN q.due_at END, 'epoch')::timestamptz AS due_at,
    q.requested_by,
    q.requested_via,
    q.backfill_id,
    q.run_id
FROM analytics.rollup_requests AS q
WHERE q.metric_date = @metric_date::date AND q.resolved_at IS NULL
ORDER BY q.id
LIMIT @max_rows::integer;

-- name: LedgerDateJobs :many
-- The newest jobs of a date, including those that River has deleted.
SELECT
    j.id,
    j.state,
    j.attempt,
    j.max_attempts,
    j.created_at,
    j.scheduled_at,
    j.finalized_at,
    (j.pruned_at IS NOT NULL)::boolean AS pruned
FROM daymill.jobs AS j
WHERE j.metric_date = @metric_date::date
ORDER BY j.id DESC
LIMIT @max_rows::integer;

-- name: LedgerAttention :many
-- The dates that need a person or are being tried again, latest first, with the error of the last run and what the last verification found.
SELECT
    s.metric_date::date AS metric_date,
    s.state,
    r.finished_at,
    left(coalesce(r.error, ''), 600)::text AS error,
    coalesce(d.events, 0)::bigint AS events,
    coalesce(v.drifted_entities, 0)::bigint AS drifted_entities,
    coalesce(v.events_counted, 0)::bigint AS events_counted,
    coalesce(v.events_recorded, 0)::bigint AS events_recorded
FROM analytics.date_states AS s
LEFT JOIN analytics.rollup_dates AS d ON d.metric_date = s.metric_date
LEFT JOIN analytics.rollup_runs AS r ON r.id = s.run_id
LEFT JOIN LATERAL (
    SELECT
        c.drifted_entities,
        c.events_counted,
        c.events_recorded
    FROM analytics.verifications AS c
    WHERE s.state = 'stale' AND c.metric_date = s.metric_date
    ORDER BY c.id DESC
    LIMIT 1
) AS v ON true
WHERE s.state IN ('failed', 'retrying', 'cancelled', 'interrupted', 'stale', 'protected')
    AND s.metric_date >= (SELECT analytics.metrics_from(now()))
ORDER BY s.metric_date DESC
LIMIT @max_rows::integer;
