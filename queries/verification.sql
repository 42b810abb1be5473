-- name: VerificationBegin :one
-- What a verification is about to compare with, and when it began.
SELECT
    d.state,
    d.run_id,
    d.complete_run_id,
    d.completed_at,
    clock_timestamp()::timestamptz AS started_at
FROM analytics.rollup_dates AS d
WHERE d.metric_date = @metric_date;

-- name: VerificationSteady :one
-- Whether no run has begun since the verification did, and whether one is asked for; the date is locked, so that none
-- begins until the transaction ends.
SELECT
    coalesce(d.run_id = @run_id AND d.state IN ('complete', 'stale', 'protected'), false)::boolean AS same,
    EXISTS(
        SELECT FROM analytics.rollup_requests AS q WHERE q.metric_date = d.metric_date AND q.resolved_at IS NULL
    )::boolean AS requested
FROM analytics.rollup_dates AS d
WHERE d.metric_date = @metric_date
FOR UPDATE OF d;

-- name: VerificationMark :exec
-- Takes note of what was found of a date: its state, where the comparison has settled it, and when.
UPDATE analytics.rollup_dates
SET verified_at = clock_timestamp(), state = coalesce(sqlc.narg('state')::text, state)
WHERE metric_date = @metric_date;

-- name: VerificationInsert :one
INSERT INTO analytics.verifications
(
    metric_date, run_id, result, entities, drifted_entities, events_counted, events_stored, repair, started_at,
    requested_by, requested_via
)
VALUES
(
    @metric_date, sqlc.narg('run_id'), @result, @entities, @drifted_entities, @events_counted, @events_stored, @repair,
    @started_at, coalesce(nullif(@requested_by::text, ''), session_user), @requested_via
)
RETURNING id;

-- name: VerificationDates :many
-- The dates of a range that a run has completed, or was about to.
SELECT d.metric_date
FROM analytics.rollup_dates AS d
WHERE d.metric_date BETWEEN @first_date::date AND @last_date::date
    AND d.state IN ('complete', 'stale', 'protected')
ORDER BY d.metric_date;

-- name: VerificationSample :many
-- Some complete dates by chance: the same ones for the same seed, whatever others there are.
SELECT s.metric_date
FROM (
    SELECT d.metric_date
    FROM analytics.rollup_dates AS d
    WHERE d.state IN ('complete', 'stale')
    ORDER BY md5(@seed::bigint || ' ' || (d.metric_date - date '2000-01-01'))
    LIMIT @max_rows::integer
) AS s
ORDER BY s.metric_date;

-- name: VerificationCandidates :one
-- How many dates a sample is taken of.
SELECT count(*) FROM analytics.rollup_dates AS d WHERE d.state IN ('complete', 'stale');

-- name: VerificationDue :many
-- Complete dates that were not verified for longest, those never verified first, without those that are about to be
-- rolled up again and those that were verified since an instant.
SELECT d.metric_date
FROM analytics.rollup_dates AS d
WHERE d.state = 'complete' AND (d.verified_at IS NULL OR d.verified_at < @since)
    AND NOT EXISTS (
        SELECT FROM analytics.rollup_requests AS q WHERE q.metric_date = d.metric_date AND q.resolved_at IS NULL
    )
ORDER BY d.verified_at NULLS FIRST, d.metric_date
LIMIT @max_rows::integer;

-- name: VerificationCount :one
-- How many verifications were made in some way since an instant.
SELECT count(*) FROM analytics.verifications AS v WHERE v.finished_at >= @since AND v.requested_via = @requested_via;

-- name: VerificationList :many
-- The latest verifications, the newest first.
SELECT sqlc.embed(v)
FROM analytics.verifications AS v
ORDER BY v.id DESC
LIMIT @max_rows::integer;
