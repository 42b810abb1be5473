-- name: WorkerSee :exec
-- Records that a worker process is alive, and its options.
INSERT INTO daymill.workers
(
    name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower, trouble, followers,
    current_pace, pace_reason
)
VALUES (
    @name, @version, @workers, @pace, @max_entities, @daily_hour, @lookback, @retention_seconds, @follower, @trouble, @followers,
    sqlc.narg('current_pace'), @pace_reason
)
ON CONFLICT (name) DO UPDATE SET last_seen_at = clock_timestamp(), trouble = excluded.trouble, followers = excluded.followers,
    current_pace = excluded.current_pace, pace_reason = excluded.pace_reason;

-- name: WorkerForget :exec
-- Deletes a worker process that has stopped.
DELETE FROM daymill.workers WHERE name = @name;

-- name: WorkerPrune :exec
-- Deletes worker processes that crashed long ago.
DELETE FROM daymill.workers WHERE last_seen_at < now() - interval '7 days';

-- name: WorkerList :many
-- The worker processes that were seen within a span of time, last started first.
SELECT w.*
FROM daymill.workers AS w
WHERE w.last_seen_at >= now() - @within::interval
ORDER BY w.started_at DESC, w.name
LIMIT @max_rows::integer;

-- name: WorkerCount :one
-- The number of worker processes that were seen within a span of time.
SELECT count(*) FROM daymill.workers AS w WHERE w.last_seen_at >= now() - @within::interval;

-- name: WorkerInspect :execrows
-- Records that a worker compares what is installed with what should be, unless another one has done so within a span of time.
UPDATE daymill.workers AS w SET inspected_at = clock_timestamp()
WHERE w.name = @name AND NOT EXISTS (
    SELECT FROM daymill.workers AS o WHERE o.name <> @name AND o.inspected_at > clock_timestamp() - @within::interval
);
