-- name: LedgerDates :one
-- How many dates are in which state, and the first and last of those that are complete.
SELECT
    (count(*) FILTER (WHERE s.state = 'complete'))::bigint AS complete,
    (count(*) FILTER (WHERE s.state = 'running'))::bigint AS running,
    (count(*) FILTER (WHERE s.state = 'requested'))::bigint AS requested,
    (count(*) FILTER (WHERE s.state = 'waiting'))::bigint AS waiting,
    (count(*) FILTER (WHERE s.state IN ('retrying', 'interrupted')))::bigint AS retrying,
    (count(*) FILTER (WHERE s.state = 'failed'))::bigint AS failed,
    (count(*) FILTER (WHERE s.state = 'cancelled'))::bigint AS cancelled,
    (count(*) FILTER (WHERE s.state = 'stale'))::bigint AS stale,
    (count(*) FILTER (WHERE s.state = 'protected'))::bigint AS protected,
    (min(s.metric_date) FILTER (WHERE s.state = 'complete'))::date AS first_complete,
    (max(s.metric_date) FILTER (WHERE s.state = 'complete'))::date AS last_complete
FROM analytics.date_states AS s;

-- name: LedgerNextDue :one
-- When the first of the requests that wait is due, where none of their dates is due before.
SELECT s.due_at FROM analytics.date_states AS s WHERE s.state = 'waiting' AND isfinite(s.due_at) ORDER BY s.due_at LIMIT 1;

-- name: LedgerRuns :many
-- The latest runs, the newest first.
SELECT
    r.id,
    r.metric_date,
    r.state,
    r.worker,
    r.started_at,
    r.finished_at,
    r.error,
    r.phase,
    r.progress,
    r.events,
    r.entities,
    r.rows_inserted,
    r.rows_updated,
    r.rows_deleted,
    r.longest_statement_ms
FROM analytics.rollup_runs AS r
ORDER BY r.id DESC
LIMIT @max_rows::integer;

-- name: LedgerBroken :many
-- Dates that need a person, the latest first, with the error of their last run.
SELECT
    d.metric_date,
    d.state,
    (CASE
        WHEN d.state = 'stale' THEN 'its rows are not what its events come to: see `daymill verify ' || d.metric_date || '`'
        ELSE coalesce(r.error, '')
    END)::text AS error
FROM analytics.rollup_dates AS d
LEFT JOIN analytics.rollup_runs AS r ON r.id = d.run_id
WHERE d.state IN ('failed', 'cancelled', 'stale')
ORDER BY d.metric_date DESC
LIMIT @max_rows::integer;
