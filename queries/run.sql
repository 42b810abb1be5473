-- name: RunInsert :one
INSERT INTO analytics.rollup_runs (metric_date, job_id, attempt, worker, resumed_run_id, life)
VALUES (@metric_date, @job_id, @attempt, @worker, @resumed_run_id, daymill.life())
RETURNING id, token;

-- name: RunLose :exec
-- Marks a run that gave no sign of life before another run took over its date.
UPDATE analytics.rollup_runs
SET state = 'lost', finished_at = clock_timestamp(), error = @error::text
WHERE id = @id AND state = 'running';

-- name: RunProgress :exec
UPDATE analytics.rollup_runs
SET
    phase = @phase,
    progress = @progress,
    events = @events,
    entities = @entities,
    rows_inserted = @rows_inserted,
    rows_updated = @rows_updated,
    rows_deleted = @rows_deleted,
    passes = @passes,
    slices = @slices,
    batches = @batches,
    longest_statement_ms = @longest_statement_ms,
    worked_ms = @worked_ms,
    paused_ms = @paused_ms
WHERE id = @id;

-- name: RunScope :exec
-- Records for how many entities a run is.
UPDATE analytics.rollup_runs SET scope = @scope::integer WHERE id = @id;

-- name: RunFinish :exec
UPDATE analytics.rollup_runs
SET state = @state, finished_at = clock_timestamp(), error = @error
WHERE id = @id AND state = 'running';

-- name: RunRecentCost :one
-- The events and durations in seconds of the newest complete runs.
SELECT
    coalesce(sum(r.events), 0)::bigint AS events,
    coalesce(sum(extract(EPOCH FROM r.finished_at - r.started_at)), 0)::double precision AS seconds
FROM (
    SELECT
        n.events,
        n.started_at,
        n.finished_at
    FROM analytics.rollup_runs AS n
    WHERE n.state = 'complete' AND n.resumed_run_id IS NULL
    ORDER BY n.id DESC
    LIMIT 50
) AS r;

-- name: RunLost :one
-- The number of a date's runs that were lost in a row, including the newest; at most four.
SELECT count(*) FROM (
    SELECT
        r.id,
        r.state
    FROM analytics.rollup_runs AS r
    WHERE r.metric_date = @metric_date
    ORDER BY r.id DESC
    LIMIT 4
) AS l
WHERE l.state = 'lost' AND l.id > coalesce((
    SELECT max(n.id) FROM analytics.rollup_runs AS n
    WHERE n.metric_date = @metric_date AND n.state NOT IN ('lost', 'running')
), 0);
