-- name: ScheduleEnsure :exec
-- Inserts the row of a periodic job that has never run, so that ScheduleLock can lock it.
INSERT INTO daymill.schedules (name, last_due_at) VALUES (@name, '-infinity') ON CONFLICT (name) DO NOTHING;

-- name: ScheduleLock :one
-- Whether a periodic job has yet to do its work for an instant of its schedule, and whether it is paused;
-- locked until the transaction ends.
SELECT
    -- A future instant was recorded by a process whose clock was ahead.
    (s.last_due_at < @due_at::timestamptz OR s.last_due_at > @at_instant::timestamptz)::boolean AS due,
    (s.paused_at IS NOT NULL)::boolean AS paused
FROM daymill.schedules AS s
WHERE s.name = @name
FOR UPDATE;

-- name: ScheduleRecord :exec
UPDATE daymill.schedules
SET
    last_due_at = CASE WHEN last_due_at > @at_instant::timestamptz THEN @due_at::timestamptz ELSE greatest(last_due_at, @due_at::timestamptz) END,
    last_run_at = clock_timestamp()
WHERE name = @name;

-- name: ScheduleOverdue :one
-- Whether a periodic job has not done its work for an instant of its schedule, although it is not paused.
SELECT NOT EXISTS(
    SELECT FROM daymill.schedules AS s
    WHERE s.name = @name
        AND (s.last_due_at >= @due_at::timestamptz AND s.last_due_at <= @at_instant::timestamptz OR s.paused_at IS NOT NULL)
);

-- name: ScheduleGet :one
SELECT
    s.last_run_at,
    s.paused_at
FROM daymill.schedules AS s
WHERE s.name = @name;

-- name: SchedulePause :exec
-- Pauses a periodic job, which may never have run. A paused job keeps the time of its pause.
INSERT INTO daymill.schedules AS s (name, last_due_at, paused_at)
VALUES (@name, '-infinity', clock_timestamp())
ON CONFLICT (name) DO UPDATE SET paused_at = coalesce(s.paused_at, excluded.paused_at);

-- name: ScheduleResume :exec
UPDATE daymill.schedules SET paused_at = NULL WHERE name = @name;

-- name: ScheduleMissing :many
-- Dates of a range that are neither complete nor going to be: without a request that is due, a running run, or a backfill that has yet to request
-- them. A stale date was complete, and is left to a person, because its missing events may have been dropped on purpose. A protected date would
-- be protected again, and so would one whose metrics are no longer kept.
SELECT (cast(@first_date AS date) + i)::date AS metric_date
FROM generate_series(0, cast(@last_date AS date) - cast(@first_date AS date)) AS i
WHERE cast(@first_date AS date) + i >= (SELECT analytics.metrics_from(now()))
AND NOT EXISTS (
    SELECT FROM analytics.rollup_dates AS d
    WHERE d.metric_date = cast(@first_date AS date) + i
        AND (d.state IN ('complete', 'stale', 'protected') OR d.state = 'running' AND d.heartbeat_at >= now() - @silence::interval)
)
AND NOT EXISTS (
    SELECT FROM analytics.backfill_dates AS w
    INNER JOIN analytics.backfills AS b ON b.id = w.backfill_id
    WHERE w.metric_date = cast(@first_date AS date) + i AND w.state IN ('waiting', 'requested')
        AND b.state IN ('running', 'paused')
)
AND NOT EXISTS (
    SELECT FROM analytics.rollup_requests AS q
    WHERE q.metric_date = cast(@first_date AS date) + i AND q.resolved_at IS NULL AND q.due_at <= now()
)
ORDER BY i;

-- name: ScheduleList :many
-- The state of every periodic job.
SELECT
    s.name,
    s.last_run_at,
    s.paused_at
FROM daymill.schedules AS s
ORDER BY s.name;

-- name: ScheduleLatest :many
-- The newest job of each of some kinds in one of some states, with one index lookup per kind and state. The comparison of rows makes Postgres walk the
-- index of kind and state even if most jobs are of one kind: the walk begins at the newest job of the kind and state, if there is one.
SELECT DISTINCT ON (j.kind)
    j.kind,
    j.id,
    j.state,
    coalesce(j.finalized_at, j.attempted_at, j.created_at)::timestamptz AS at,
    coalesce(j.errors -> -1 ->> 'error', '')::text AS error
FROM unnest(@kinds::text[]) AS k
CROSS JOIN unnest(@states::text[]) AS s
CROSS JOIN LATERAL (
    SELECT l.*
    FROM daymill.jobs AS l
    WHERE (l.kind, l.state) <= (k, s)
    ORDER BY l.kind DESC, l.state DESC, l.id DESC
    LIMIT 1
) AS j
WHERE j.kind = k AND j.state = s
ORDER BY j.kind, j.id DESC;

-- name: ScheduleHistory :many
-- The newest jobs of each of some kinds in each of some states, newest first by kind. It walks the index as ScheduleLatest does.
SELECT
    j.kind,
    j.id,
    j.state,
    j.scheduled_at,
    j.attempted_at,
    j.finalized_at,
    left(coalesce(j.errors -> -1 ->> 'error', ''), 300)::text AS error
FROM unnest(@kinds::text[]) AS k
CROSS JOIN unnest(@states::text[]) AS s
CROSS JOIN LATERAL (
    SELECT l.*
    FROM daymill.jobs AS l
    WHERE (l.kind, l.state) <= (k, s)
    ORDER BY l.kind DESC, l.state DESC, l.id DESC
    LIMIT @max_rows::integer
) AS j
WHERE j.kind = k AND j.state = s
ORDER BY j.kind, j.id DESC;
