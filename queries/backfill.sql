-- name: BackfillInsert :one
-- Starts a backfill; no row if the job, or a request with the same key, has already started one.
INSERT INTO analytics.backfills
(first_date, last_date, newest_first, every_date, in_flight, pause_ms, job_id, requested_by, requested_via, erase, request_key)
VALUES
(
    @first_date, @last_date, @newest_first, @every_date, @in_flight, @pause_ms, sqlc.narg('job_id'),
    coalesce(nullif(@requested_by::text, ''), session_user), @requested_via, @erase,
    sqlc.narg('request_key')
)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: BackfillByKey :one
-- The backfill that a user started with a key, and whether it was the same plan.
SELECT
    b.id,
    (
        b.first_date = @first_date::date AND b.last_date = @last_date::date AND b.newest_first = @newest_first::boolean
        AND b.every_date = @every_date::boolean AND b.in_flight = @in_flight::integer AND b.pause_ms = @pause_ms::bigint
        AND b.erase = @erase::boolean
    )::boolean AS same
FROM analytics.backfills AS b
WHERE b.requested_by = @requested_by::text AND b.request_key = @request_key::text;

-- name: BackfillFillDates :execrows
-- The dates of a backfill: all of its range, or those that are not complete.
INSERT INTO analytics.backfill_dates (backfill_id, metric_date)
SELECT
    b.id,
    b.first_date + i
FROM analytics.backfills AS b
CROSS JOIN LATERAL generate_series(0, b.last_date - b.first_date) AS i
WHERE b.id = @id
    AND (
        b.every_date
        OR NOT EXISTS (
            SELECT FROM analytics.rollup_dates AS d WHERE d.metric_date = b.first_date + i AND d.state = 'complete'
        )
        OR EXISTS (
            SELECT FROM analytics.rollup_requests AS q
            WHERE q.metric_date = b.first_date + i AND q.resolved_at IS NULL AND q.due_at <= now()
        )
    );

-- name: BackfillPreviewDates :many
-- The dates that a backfill would have. The bounds limit what is read of the ledger to the range.
SELECT (cast(@first_date AS date) + i)::date AS metric_date
FROM generate_series(0, cast(@last_date AS date) - cast(@first_date AS date)) AS i
WHERE @every_date::boolean
    OR NOT EXISTS (
        SELECT FROM analytics.rollup_dates AS d
        WHERE d.metric_date = cast(@first_date AS date) + i AND d.state = 'complete'
            AND d.metric_date BETWEEN cast(@first_date AS date) AND cast(@last_date AS date)
    )
    OR EXISTS (
        SELECT FROM analytics.rollup_requests AS q
        WHERE q.metric_date = cast(@first_date AS date) + i AND q.resolved_at IS NULL AND q.due_at <= now()
    )
ORDER BY i;

-- name: BackfillRunning :many
-- The running backfills, locked until the transaction ends.
SELECT
    b.id,
    b.newest_first,
    b.in_flight
FROM analytics.backfills AS b
WHERE b.state = 'running'
ORDER BY b.id
FOR UPDATE SKIP LOCKED;

-- name: BackfillCollect :execrows
-- Records the dates whose request was resolved.
UPDATE analytics.backfill_dates AS d
SET
    state = CASE q.resolution WHEN 'satisfied' THEN 'complete' ELSE q.resolution END,
    finished_at = q.resolved_at
FROM analytics.rollup_requests AS q
WHERE d.backfill_id = @id AND d.state = 'requested'
    AND q.backfill_id = d.backfill_id AND q.metric_date = d.metric_date AND q.resolved_at IS NOT NULL;

-- name: BackfillCollected :exec
UPDATE analytics.backfills SET last_finished_at = now() WHERE id = @id;

-- name: BackfillRested :one
-- Whether the pause after the date that finished last is over.
SELECT
    (b.last_finished_at IS NULL OR b.last_finished_at + b.pause_ms * interval '1 millisecond' <= now())::boolean AS rested
FROM analytics.backfills AS b
WHERE b.id = @id;

-- name: BackfillInFlight :one
SELECT count(*) FROM analytics.backfill_dates AS d WHERE d.backfill_id = @id AND d.state = 'requested';

-- name: BackfillTake :many
-- The next dates of a backfill, which the caller requests in the same transaction.
UPDATE analytics.backfill_dates AS d
SET state = 'requested', requested_at = clock_timestamp()
WHERE d.backfill_id = @id AND d.metric_date IN (
    SELECT w.metric_date
    FROM analytics.backfill_dates AS w
    WHERE w.backfill_id = @id AND w.state = 'waiting'
    ORDER BY
        CASE WHEN @newest_first::boolean THEN w.metric_date END DESC,
        w.metric_date
    LIMIT @max_rows::integer
)
RETURNING d.metric_date;

-- name: BackfillRequest :exec
INSERT INTO analytics.rollup_requests (metric_date, requested_by, requested_via, priority, backfill_id, may_lose, erase)
SELECT
    unnest(@metric_dates::date[]),
    b.requested_by,
    'backfill',
    3,
    b.id,
    'none',
    b.erase
FROM analytics.backfills AS b
WHERE b.id = @id;

-- name: BackfillBegin :execrows
UPDATE analytics.backfills SET started_at = now() WHERE id = @id AND started_at IS NULL;

-- name: BackfillFinish :execrows
-- Completes a backfill that has no date left.
UPDATE analytics.backfills AS b
SET state = 'complete', finished_at = now()
WHERE b.id = @id AND b.state = 'running' AND NOT EXISTS (
    SELECT FROM analytics.backfill_dates AS d WHERE d.backfill_id = b.id AND d.state IN ('waiting', 'requested')
);

-- name: BackfillLock :one
SELECT b.state FROM analytics.backfills AS b WHERE b.id = @id FOR UPDATE;

-- name: BackfillSetState :exec
UPDATE analytics.backfills
SET
    state = @state::text,
    finished_at = CASE WHEN @state::text = 'cancelled' THEN now() END
WHERE id = @id;

-- name: BackfillTellCancelled :many
-- Records that cancelled backfills were reported.
UPDATE analytics.backfills
SET cancel_told = true
WHERE state = 'cancelled' AND NOT cancel_told
RETURNING id;

-- name: BackfillCancelDates :exec
UPDATE analytics.backfill_dates
SET state = 'cancelled', finished_at = now()
WHERE backfill_id = @id AND state IN ('waiting', 'requested');

-- name: BackfillCancelRequests :exec
-- Withdraws the requests of a backfill that no run has claimed yet.
UPDATE analytics.rollup_requests
SET resolved_at = clock_timestamp(), resolution = 'cancelled'
WHERE backfill_id = @id AND resolved_at IS NULL AND run_id IS NULL;

-- name: BackfillList :many
-- The newest backfills with their progress, before an id if one is given.
SELECT
    sqlc.embed(b),
    c.dates,
    c.requested,
    c.complete,
    c.failed,
    c.cancelled,
    c.protected,
    c.seconds_per_date
FROM analytics.backfills AS b
CROSS JOIN LATERAL (
    SELECT
        count(*)::bigint AS dates,
        (count(*) FILTER (WHERE d.state = 'requested'))::bigint AS requested,
        (count(*) FILTER (WHERE d.state = 'complete'))::bigint AS complete,
        (count(*) FILTER (WHERE d.state = 'failed'))::bigint AS failed,
        (count(*) FILTER (WHERE d.state = 'cancelled'))::bigint AS cancelled,
        (count(*) FILTER (WHERE d.state = 'protected'))::bigint AS protected,
        coalesce(
            avg(extract(EPOCH FROM d.finished_at - d.requested_at)) FILTER (WHERE d.state = 'complete'), 0
        )::double precision AS seconds_per_date
    FROM analytics.backfill_dates AS d
    WHERE d.backfill_id = b.id
) AS c
WHERE b.id < @before_id::bigint
ORDER BY b.id DESC
LIMIT @max_rows::integer;

-- name: BackfillConflicts :one
-- What already happens in a range: open backfills that share dates with it, requested dates, and running dates.
SELECT
    (
        SELECT count(*) FROM analytics.backfills AS b
        WHERE b.state IN ('running', 'paused') AND b.first_date <= @last_date AND b.last_date >= @first_date
    )::bigint AS backfills,
    (
        SELECT count(DISTINCT q.metric_date) FROM analytics.rollup_requests AS q
        WHERE q.resolved_at IS NULL AND q.metric_date BETWEEN @first_date AND @last_date
    )::bigint AS requested,
    (
        SELECT count(*) FROM analytics.rollup_dates AS d
        WHERE d.state = 'running' AND d.metric_date BETWEEN @first_date AND @last_date
    )::bigint AS running;

-- name: BackfillDates :many
-- The dates of a backfill in a state, or in any; failed dates first. The previous page ended with a date, which had failed or not.
SELECT
    d.metric_date,
    d.state,
    d.requested_at,
    d.finished_at
FROM analytics.backfill_dates AS d
WHERE d.backfill_id = @id
    AND (d.state <> 'failed', d.metric_date) > (@past_failed::boolean, cast(@after_date AS date))
    AND (@state::text = '' OR d.state = @state::text)
ORDER BY d.state <> 'failed', d.metric_date
LIMIT @max_rows::integer;
