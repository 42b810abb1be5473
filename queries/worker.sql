-- name: WorkerSee :exec
-- A worker process is alive, and this is how it works.
INSERT INTO daymill.workers
(name, version, workers, pace, max_entities, daily_hour, lookback, retention_seconds, follower, trouble)
VALUES (@name, @version, @workers, @pace, @max_entities, @daily_hour, @lookback, @retention_seconds, @follower, @trouble)
ON CONFLICT (name) DO UPDATE SET last_seen_at = clock_timestamp(), trouble = excluded.trouble;

-- name: WorkerForget :exec
-- A worker process has stopped.
DELETE FROM daymill.workers WHERE name = @name;

-- name: WorkerPrune :exec
-- Worker processes that ended without a word, long ago.
DELETE FROM daymill.workers WHERE last_seen_at < now() - interval '7 days';

-- name: WorkerList :many
-- The worker processes that were seen within a span of time, those started last first.
SELECT w.*
FROM daymill.workers AS w
WHERE w.last_seen_at >= now() - @within::interval
ORDER BY w.started_at DESC, w.name
LIMIT @max_rows::integer;

-- name: WorkerCount :one
-- How many worker processes were seen within a span of time.
SELECT count(*) FROM daymill.workers AS w WHERE w.last_seen_at >= now() - @within::interval;
