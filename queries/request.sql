-- name: RequestOpen :one
-- The number of a date's requests that are open and due, and whether any of them is newer than the last run's claim.
SELECT
    count(*) AS requests,
    (count(*) FILTER (WHERE q.run_id IS NULL) > 0)::boolean AS unclaimed
FROM (
    SELECT r.run_id
    FROM analytics.rollup_requests AS r
    WHERE r.metric_date = @metric_date AND r.resolved_at IS NULL AND r.due_at <= now()
    ORDER BY r.run_id NULLS FIRST
    LIMIT 1000
) AS q;

-- name: RequestClaim :execrows
-- Claims the requests of a date that are open, visible and due now, at most max_rows at a time. Everything that was committed before them is
-- visible to every slice that the run will read. A request that is due later needs what is committed by then.
UPDATE analytics.rollup_requests
SET run_id = @run_id::bigint
WHERE id IN (
    SELECT r.id
    FROM analytics.rollup_requests AS r
    WHERE r.metric_date = @metric_date AND r.resolved_at IS NULL AND r.due_at <= now()
        AND r.run_id IS DISTINCT FROM @run_id::bigint
    ORDER BY r.id
    LIMIT @max_rows::integer
);

-- name: RequestSatisfy :execrows
-- Resolves requests that a run claimed when its scan began, at most max_rows at a time.
UPDATE analytics.rollup_requests
SET resolved_at = clock_timestamp(), resolution = 'satisfied'
WHERE id IN (
    SELECT r.id
    FROM analytics.rollup_requests AS r
    WHERE r.metric_date = @metric_date AND r.resolved_at IS NULL AND r.run_id = @run_id::bigint
    ORDER BY r.id
    LIMIT @max_rows::integer
);

-- name: RequestAppend :exec
-- Requests a rollup of some dates.
INSERT INTO analytics.rollup_requests (metric_date, requested_via, priority, may_lose, erase)
SELECT
    unnest(@metric_dates::date[]),
    @requested_via,
    @priority,
    @may_lose::text,
    @erase::boolean;

-- name: RequestSweep :exec
-- Makes the requests of the triggers on River's table those of a sweep, until the transaction ends. The default of may_lose reads it.
SELECT set_config('daymill.sweep', pg_current_xact_id()::text, true);

-- name: RequestEnqueue :one
-- Requests a rollup of a range, as every other client does; returns the number of dates.
SELECT analytics.enqueue_rollup(@first_date, @last_date, @via::text)::integer AS dates;

-- name: RequestErase :one
-- Requests a rollup of a range that may erase metrics which it would otherwise protect; returns the number of dates.
SELECT analytics.enqueue_erase(@first_date, @last_date, @via::text)::integer AS dates;

-- name: RequestAppendAs :exec
-- Requests a rollup of some dates on behalf of a user, or of some entities of each.
INSERT INTO analytics.rollup_requests (metric_date, requested_by, requested_via, may_lose, erase, entities)
SELECT
    unnest(@metric_dates::date[]),
    @requested_by,
    @requested_via,
    @may_lose::text,
    @erase::boolean,
    nullif(@entities::text[], '{}');

-- name: RequestScope :one
-- Whether the requests that a run has claimed are only for some entities, and for which, up to at_most.
SELECT
    (count(*) > 0 AND count(*) FILTER (WHERE r.entities IS NULL OR r.erase OR r.may_lose <> 'all') = 0)::boolean AS scoped,
    ARRAY(
        SELECT DISTINCT e.id
        FROM analytics.rollup_requests AS q
        CROSS JOIN unnest(q.entities) AS e (id)
        WHERE q.metric_date = @metric_date AND q.resolved_at IS NULL AND q.run_id = @run_id::bigint
        LIMIT @at_most::integer
    )::text[] AS entities
FROM analytics.rollup_requests AS r
WHERE r.metric_date = @metric_date AND r.resolved_at IS NULL AND r.run_id = @run_id::bigint;

-- name: RequestEntities :one
-- Requests some entities of a date; returns how many.
SELECT analytics.enqueue_entities(@metric_date, @entities::text[], @via::text)::integer AS entities;
