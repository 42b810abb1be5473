-- name: GuardLedger :one
-- What decides whether metrics of a date may be erased: whether the last completed run counted events (or, where no run
-- ever completed the date, whether it has rows all the same), whether the date begins before what the application keeps,
-- and whether a request that the run has claimed wants it regardless.
SELECT
    (CASE
        WHEN d.completed_at IS NOT NULL THEN d.events > 0
        ELSE EXISTS(SELECT FROM analytics.daily_entity_metrics AS m WHERE m.metric_date = cast(@metric_date AS date))
    END)::boolean AS had_events,
    coalesce(analytics.date_start(cast(@metric_date AS date)) < cast(@at_instant AS timestamptz) - i.event_retention, false)::boolean AS beyond_retention,
    EXISTS(
        SELECT FROM analytics.rollup_requests AS q
        WHERE q.metric_date = cast(@metric_date AS date) AND q.resolved_at IS NULL AND q.run_id = cast(@run_id AS bigint) AND q.erase
    )::boolean AS erase
FROM analytics.installation AS i
LEFT JOIN analytics.rollup_dates AS d ON d.metric_date = cast(@metric_date AS date);

-- name: GuardEvents :one
-- Whether a date has any event that a run would count.
SELECT EXISTS(
    SELECT FROM analytics.events AS e
    WHERE e.created_at >= @from_instant::timestamptz AND e.created_at < @to_instant::timestamptz
        AND e.entity_id IS NOT NULL
);

-- name: GuardResolve :execrows
-- Resolves requests that a run claimed and will not fulfil, at most max_rows at a time.
UPDATE analytics.rollup_requests
SET resolved_at = clock_timestamp(), resolution = 'protected'
WHERE id IN (
    SELECT r.id
    FROM analytics.rollup_requests AS r
    WHERE r.metric_date = @metric_date AND r.resolved_at IS NULL AND r.run_id = @run_id::bigint
    ORDER BY r.id
    LIMIT @max_rows::integer
);

-- name: GuardProtect :execrows
-- The fence, and the end of a run that leaves the metrics as they are. What the last completion came to stays.
UPDATE analytics.rollup_dates
SET state = 'protected', cursor = NULL, heartbeat_at = clock_timestamp()
WHERE metric_date = @metric_date AND run_id = @run_id AND state = 'running';
