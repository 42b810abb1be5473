-- name: ProtectionGet :one
-- The facts that decide whether metrics of a date may be erased: whether there is anything to erase (events of the last completed run or, if no
-- run ever completed the date, rows), how many events that run has counted, whether the date begins before the application's retention, whether
-- its metrics are no longer kept, and what the requests that the run has claimed allow (nothing if there are none).
SELECT
    (CASE
        WHEN d.completed_at IS NOT NULL THEN d.events > 0
        ELSE analytics.has_metrics(cast(@metric_date AS date))
    END)::boolean AS had_events,
    (CASE WHEN d.completed_at IS NOT NULL THEN coalesce(d.events, 0) ELSE 0 END)::bigint AS recorded,
    coalesce(analytics.date_start(cast(@metric_date AS date)) < cast(@at_instant AS timestamptz) - i.event_retention, false)::boolean AS beyond_retention,
    (cast(@metric_date AS date) < analytics.metrics_from(cast(@at_instant AS timestamptz)))::boolean AS not_kept,
    coalesce(q.erase, false)::boolean AS erase,
    coalesce(q.may_lose, 0)::integer AS may_lose
FROM analytics.installation AS i
LEFT JOIN analytics.rollup_dates AS d ON d.metric_date = cast(@metric_date AS date)
CROSS JOIN (
    SELECT
        bool_or(r.erase) AS erase,
        max(CASE r.may_lose WHEN 'all' THEN 2 WHEN 'some' THEN 1 ELSE 0 END) AS may_lose
    FROM analytics.rollup_requests AS r
    WHERE r.metric_date = cast(@metric_date AS date) AND r.resolved_at IS NULL AND r.run_id = cast(@run_id AS bigint)
) AS q;

-- name: ProtectionEvents :one
-- Whether a date has any event that a run would count.
SELECT EXISTS(
    SELECT 1 FROM analytics.events AS e
    WHERE e.created_at >= @from_instant::timestamptz AND e.created_at < @to_instant::timestamptz
        AND e.entity_id IS NOT NULL
    LIMIT 1
);

-- name: ProtectionCount :one
-- The number of events between two instants that a run would count, or at_most if there are more.
SELECT count(*) AS events
FROM (
    SELECT 1 AS one FROM analytics.events AS e
    WHERE e.created_at >= @from_instant::timestamptz AND e.created_at < @to_instant::timestamptz
        AND e.entity_id IS NOT NULL
    LIMIT @at_most::bigint
) AS s;

-- name: ProtectionRecorded :many
-- The number of events that the last completed runs of some dates have counted, with the dates' bounds; without dates that have none, and without
-- those whose metrics are no longer kept, which no run changes.
SELECT
    d.metric_date,
    d.events::bigint AS events,
    analytics.date_start(d.metric_date) AS from_instant,
    analytics.date_start(d.metric_date + 1) AS to_instant
FROM analytics.rollup_dates AS d
WHERE d.metric_date = ANY(@metric_dates::date[]) AND d.completed_at IS NOT NULL AND d.events > 0
    AND d.metric_date >= (SELECT analytics.metrics_from(now()))
ORDER BY d.metric_date;

-- name: ProtectionErased :exec
-- Records the result of the requests to erase that a run has claimed.
INSERT INTO daymill.audit (actor, via, action, target, detail)
SELECT
    r.requested_by,
    r.requested_via,
    'erase metrics',
    cast(@metric_date AS date)::text,
    jsonb_build_object('events before', @events_before::bigint, 'events', @events::bigint, 'rows deleted', @rows_deleted::bigint, 'run', @by_run::bigint)
FROM analytics.rollup_requests AS r
WHERE r.metric_date = cast(@metric_date AS date) AND r.resolved_at IS NULL AND r.run_id = @run_id::bigint AND r.erase
ORDER BY r.id
LIMIT 1;

-- name: ProtectionResolve :execrows
-- Resolves requests that a run claimed and will not satisfy, at most max_rows at a time.
UPDATE analytics.rollup_requests
SET resolved_at = clock_timestamp(), resolution = 'protected'
WHERE id IN (
    SELECT r.id
    FROM analytics.rollup_requests AS r
    WHERE r.metric_date = @metric_date AND r.resolved_at IS NULL AND r.run_id = @run_id::bigint
    ORDER BY r.id
    LIMIT @max_rows::integer
);

-- name: ProtectionReason :one
-- Why the date's last run has kept its metrics; empty if it has not.
SELECT coalesce((
    SELECT r.error FROM analytics.rollup_runs AS r
    INNER JOIN analytics.rollup_dates AS d ON d.metric_date = r.metric_date AND d.run_id = r.id
    WHERE r.metric_date = @metric_date AND d.state = 'protected' AND r.state = 'protected'
), '')::text AS reason;

-- name: ProtectionSet :execrows
-- The fence, and the end of a run that does not change the metrics. The figures of the last completion stay.
UPDATE analytics.rollup_dates
SET state = 'protected', cursor = NULL, heartbeat_at = clock_timestamp()
WHERE metric_date = @metric_date AND run_id = @run_id AND state = 'running'
    AND token = @token AND beat >= cast(@beat AS bigint) AND life = (SELECT daymill.life());
