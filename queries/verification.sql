-- name: VerificationBegin :one
-- What a verification will compare with, and the time of its beginning.
SELECT
    d.state,
    d.run_id,
    d.token,
    daymill.life()::text AS life,
    d.complete_run_id,
    d.completed_at,
    coalesce(d.events, 0)::bigint AS events,
    clock_timestamp()::timestamptz AS started_at
FROM analytics.rollup_dates AS d
WHERE d.metric_date = @metric_date;

-- name: VerificationSteady :one
-- Whether no run has begun since the verification did, and whether one is requested. Locks the date, so that no run begins until the transaction
-- ends.
SELECT
    coalesce(
        d.run_id = @run_id AND d.token IS NOT DISTINCT FROM sqlc.narg('token')::uuid
        AND (SELECT daymill.life()) = @life::text AND d.state IN ('complete', 'stale', 'protected'), false
    )::boolean AS same,
    EXISTS(
        SELECT FROM analytics.rollup_requests AS q WHERE q.metric_date = d.metric_date AND q.resolved_at IS NULL
    )::boolean AS requested
FROM analytics.rollup_dates AS d
WHERE d.metric_date = @metric_date
FOR UPDATE OF d;

-- name: VerificationMark :exec
-- Records the result of a verification in its date: the state, if the comparison decides it, and the time.
UPDATE analytics.rollup_dates
SET verified_at = clock_timestamp(), state = coalesce(sqlc.narg('state')::text, state)
WHERE metric_date = @metric_date;

-- name: VerificationInsert :one
INSERT INTO analytics.verifications
(
    metric_date, run_id, result, entities, drifted_entities, events_counted, events_stored, events_recorded, repair, started_at,
    requested_by, requested_via, drifts
)
VALUES
(
    @metric_date, sqlc.narg('run_id'), @result, @entities, @drifted_entities, @events_counted, @events_stored, @events_recorded::bigint,
    @repair, @started_at, coalesce(nullif(@requested_by::text, ''), session_user), @requested_via, @drifts::jsonb
)
RETURNING id;

-- name: VerificationDates :many
-- The dates of a range that were ever completed: complete, stale or protected.
SELECT d.metric_date
FROM analytics.rollup_dates AS d
WHERE d.metric_date BETWEEN @first_date::date AND @last_date::date
    AND d.state IN ('complete', 'stale', 'protected')
ORDER BY d.metric_date;

-- name: VerificationLeft :many
-- The dates, among some, that were not verified since an instant.
SELECT d.metric_date::date AS metric_date
FROM unnest(@metric_dates::date[]) AS d (metric_date)
WHERE NOT EXISTS (
    SELECT FROM analytics.verifications AS v
    WHERE v.metric_date = d.metric_date AND v.finished_at >= @since::timestamptz
)
ORDER BY d.metric_date;

-- name: VerificationSample :many
-- A random sample of complete dates whose metrics are kept, which is always the same for the same seed.
SELECT s.metric_date
FROM (
    SELECT d.metric_date
    FROM analytics.rollup_dates AS d
    WHERE d.state IN ('complete', 'stale') AND d.metric_date >= (SELECT analytics.metrics_from(now()))
    ORDER BY md5(@seed::bigint || ' ' || (d.metric_date - date '2000-01-01'))
    LIMIT @max_rows::integer
) AS s
ORDER BY s.metric_date;

-- name: VerificationCandidates :one
-- The number of dates that a sample is taken from.
SELECT count(*)
FROM analytics.rollup_dates AS d
WHERE d.state IN ('complete', 'stale') AND d.metric_date >= (SELECT analytics.metrics_from(now()));

-- name: VerificationDue :many
-- Complete dates, least recently verified first, and those never verified before them; without dates that are about to be rolled up again and dates
-- that were verified since an instant.
SELECT d.metric_date
FROM analytics.rollup_dates AS d
WHERE d.state = 'complete' AND (d.verified_at IS NULL OR d.verified_at < @since)
    AND d.metric_date >= (SELECT analytics.metrics_from(now()))
    AND NOT EXISTS (
        SELECT FROM analytics.rollup_requests AS q WHERE q.metric_date = d.metric_date AND q.resolved_at IS NULL
    )
ORDER BY d.verified_at NULLS FIRST, d.metric_date
LIMIT @max_rows::integer;

-- name: VerificationCount :one
-- The number of verifications via some client since an instant.
SELECT count(*) FROM analytics.verifications AS v WHERE v.finished_at >= @since AND v.requested_via = @requested_via;

-- name: VerificationListOlder :many
-- Verifications below an id, newest first: of a date, with a result, or all. A date can be repaired if its last verification made it stale and nobody
-- has requested it since.
SELECT
    v.id,
    v.metric_date,
    v.run_id,
    v.result,
    v.entities,
    v.drifted_entities,
    v.events_counted,
    v.events_stored,
    coalesce(v.events_recorded, v.events_stored)::bigint AS events_recorded,
    v.repair,
    v.started_at,
    v.finished_at,
    v.requested_by,
    v.requested_via,
    (
        v.result = 'drifted' AND coalesce(d.state = 'stale', false)
        AND v.id = (SELECT max(l.id) FROM analytics.verifications AS l WHERE l.metric_date = v.metric_date)
        AND NOT EXISTS (
            SELECT FROM analytics.rollup_requests AS q WHERE q.metric_date = v.metric_date AND q.resolved_at IS NULL
        )
    )::boolean AS repairable
FROM analytics.verifications AS v
LEFT JOIN analytics.rollup_dates AS d ON d.metric_date = v.metric_date
WHERE v.id < @before_id
    AND (sqlc.narg('metric_date')::date IS NULL OR v.metric_date = sqlc.narg('metric_date')::date)
    AND (@result::text = '' OR v.result = @result::text)
ORDER BY v.id DESC
LIMIT @max_rows::integer;

-- name: VerificationListNewer :many
-- Like VerificationListOlder, above an id and oldest first.
SELECT
    v.id,
    v.metric_date,
    v.run_id,
    v.result,
    v.entities,
    v.drifted_entities,
    v.events_counted,
    v.events_stored,
    coalesce(v.events_recorded, v.events_stored)::bigint AS events_recorded,
    v.repair,
    v.started_at,
    v.finished_at,
    v.requested_by,
    v.requested_via,
    (
        v.result = 'drifted' AND coalesce(d.state = 'stale', false)
        AND v.id = (SELECT max(l.id) FROM analytics.verifications AS l WHERE l.metric_date = v.metric_date)
        AND NOT EXISTS (
            SELECT FROM analytics.rollup_requests AS q WHERE q.metric_date = v.metric_date AND q.resolved_at IS NULL
        )
    )::boolean AS repairable
FROM analytics.verifications AS v
LEFT JOIN analytics.rollup_dates AS d ON d.metric_date = v.metric_date
WHERE v.id > @after_id
    AND (sqlc.narg('metric_date')::date IS NULL OR v.metric_date = sqlc.narg('metric_date')::date)
    AND (@result::text = '' OR v.result = @result::text)
ORDER BY v.id
LIMIT @max_rows::integer;

-- name: VerificationDrifts :one
-- The entities that a verification has recorded as drifted.
SELECT v.drifts FROM analytics.verifications AS v WHERE v.id = @id;

-- name: VerificationJobs :many
-- Open jobs that verify dates, oldest first.
SELECT
    j.id,
    j.state,
    left(j.args::text, 1000)::text AS args
FROM daymill.jobs AS j
WHERE j.kind = 'verify_dates' AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
ORDER BY j.id
LIMIT @max_rows::integer;
