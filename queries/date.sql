-- name: DateBounds :one
-- The instants a date begins and ends in the reporting zone.
SELECT
    analytics.date_start(@metric_date) AS from_instant,
    analytics.date_start(@next_date) AS to_instant,
    (analytics.date_start(@next_date) <= clock_timestamp())::boolean AS over;

-- name: DateOf :one
-- The date an instant belongs to in the reporting zone.
SELECT analytics.date_of(@at_instant)::date AS metric_date;

-- name: DateServer :one
-- When the server was started. An older copy of the data directory can replace it only while it is stopped.
SELECT pg_postmaster_start_time()::timestamptz AS started_at;

-- name: DateEnsure :exec
-- Inserts the row of a date without runs, so that DateLock can lock it.
INSERT INTO analytics.rollup_dates (metric_date, state, run_id, scan_run_id)
VALUES (@metric_date, 'interrupted', 0, 0)
ON CONFLICT (metric_date) DO NOTHING;

-- name: DateLock :one
-- The date as its last run left it, locked until the transaction ends; and whether metrics are partitioned.
SELECT
    d.state,
    d.run_id,
    d.scan_run_id,
    d.cursor,
    d.cursor_events,
    d.cursor_entities,
    coalesce(d.events, 0)::bigint AS events,
    coalesce(d.entities, 0)::bigint AS entities,
    -- A run from before a restore of the database is fenced, and what it read may no longer exist.
    (
        d.state = 'running' AND d.heartbeat_at >= now() - @silence::interval
        AND (d.token IS NULL OR d.life = (SELECT daymill.life()))
    )::boolean AS alive,
    (d.heartbeat_at >= now() - interval '10 minutes' AND d.life = (SELECT daymill.life()))::boolean AS recent,
    r.job_id,
    coalesce(r.attempt, 0)::integer AS attempt,
    coalesce(r.worker, '')::text AS worker,
    (SELECT c.relkind = 'p' FROM pg_catalog.pg_class AS c WHERE c.oid = 'analytics.daily_entity_metrics'::regclass)::boolean AS partitioned
FROM analytics.rollup_dates AS d
LEFT JOIN analytics.rollup_runs AS r ON r.id = d.run_id
WHERE d.metric_date = @metric_date
FOR UPDATE OF d;

-- name: DateBegin :exec
-- Gives the date to a run: from now on only that run may write.
UPDATE analytics.rollup_dates
SET
    state = 'running',
    run_id = @run_id,
    token = @token,
    life = (SELECT daymill.life()),
    beat = 0,
    scan_run_id = @scan_run_id,
    cursor = CASE WHEN @run_id::bigint = @scan_run_id::bigint THEN NULL ELSE cursor END,
    cursor_events = CASE WHEN @run_id::bigint = @scan_run_id::bigint THEN 0 ELSE cursor_events END,
    cursor_entities = CASE WHEN @run_id::bigint = @scan_run_id::bigint THEN 0 ELSE cursor_entities END,
    heartbeat_at = clock_timestamp()
WHERE metric_date = @metric_date;

-- name: DateHeartbeat :execrows
-- The fence: gives a sign of life. It updates no row if another run has begun, or if the database is an older copy that knows less of this run
-- than the run itself. As the first statement of a transaction, it also prevents the next run from beginning before the transaction ends.
UPDATE analytics.rollup_dates
SET heartbeat_at = clock_timestamp(), beat = cast(@beat AS bigint) + 1
WHERE metric_date = @metric_date AND run_id = @run_id AND state = 'running'
    AND token = @token AND beat >= cast(@beat AS bigint) AND life = (SELECT daymill.life());

-- name: DateAdvance :execrows
-- The fence, and the cursor: everything up to the entity is published.
UPDATE analytics.rollup_dates
SET
    heartbeat_at = clock_timestamp(),
    beat = cast(@beat AS bigint) + 1,
    cursor = cast(sqlc.arg('up_to_entity')::text AS analytics.entity_id),
    cursor_events = @events,
    cursor_entities = @entities
WHERE metric_date = @metric_date AND run_id = @run_id AND state = 'running'
    AND token = @token AND beat >= cast(@beat AS bigint) AND life = (SELECT daymill.life());

-- name: DateComplete :execrows
-- The fence, and the end of the run.
UPDATE analytics.rollup_dates
SET
    state = 'complete',
    cursor = NULL,
    heartbeat_at = clock_timestamp(),
    complete_run_id = @run_id::bigint,
    completed_at = clock_timestamp(),
    events = @events::bigint,
    entities = @entities::bigint
WHERE metric_date = @metric_date AND run_id = @run_id AND state = 'running'
    AND token = @token AND beat >= cast(@beat AS bigint) AND life = (SELECT daymill.life());

-- name: DateBreakOff :exec
-- Ends a run that did not complete; no effect if another run has begun.
UPDATE analytics.rollup_dates
SET state = @state, heartbeat_at = clock_timestamp()
WHERE metric_date = @metric_date AND run_id = @run_id AND state = 'running'
    AND token = @token AND beat >= cast(@beat AS bigint) AND life = (SELECT daymill.life());

-- name: DateEvents :many
-- The events that the last completion of each date of a range counted.
SELECT
    d.metric_date,
    coalesce(d.events, 0)::bigint AS events
FROM analytics.rollup_dates AS d
WHERE d.metric_date BETWEEN @first_date::date AND @last_date::date AND d.completed_at IS NOT NULL;
