-- name: TrendRuns :many
-- The latest runs that ended since an instant, added up by hour or by day of the reporting zone. Durations are in seconds. known_from is when the
-- first run that was added up ended, and known is how many there were: as many as max_rows if there may be more.
WITH recent AS (
    SELECT
        r.finished_at,
        r.started_at,
        r.state,
        r.events
    FROM analytics.rollup_runs AS r
    WHERE r.finished_at >= @since::timestamptz
    ORDER BY r.finished_at DESC
    LIMIT @max_rows::integer
)

SELECT
    date_trunc(@unit::text, r.finished_at, @zone::text)::timestamptz AS at,
    count(*) FILTER (WHERE r.state = 'complete') AS complete,
    count(*) FILTER (WHERE r.state <> 'complete') AS others,
    coalesce(sum(r.events) FILTER (WHERE r.state = 'complete'), 0)::bigint AS events,
    coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(EPOCH FROM r.finished_at - r.started_at)::double precision)
        FILTER (WHERE r.state = 'complete'), 0)::double precision AS median,
    coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY extract(EPOCH FROM r.finished_at - r.started_at)::double precision)
        FILTER (WHERE r.state = 'complete'), 0)::double precision AS most,
    (sum(count(*)) OVER ())::bigint AS known,
    (min(min(r.finished_at)) OVER ())::timestamptz AS known_from
FROM recent AS r
GROUP BY 1;

-- name: TrendLatency :many
-- The latest requests that were satisfied since an instant, by hour or day: how many seconds each took from when it was due. known and
-- known_from are as in TrendRuns, for requests that were resolved.
WITH recent AS (
    SELECT
        q.resolved_at,
        q.resolution,
        extract(EPOCH FROM q.resolved_at - greatest(
            q.requested_at, CASE WHEN isfinite(q.due_at) THEN q.due_at END, (q.metric_date + 1)::timestamp AT TIME ZONE @zone::text
        ))::double precision AS seconds
    FROM analytics.rollup_requests AS q
    WHERE q.resolved_at >= @since::timestamptz
    ORDER BY q.resolved_at DESC
    LIMIT @max_rows::integer
)

SELECT
    date_trunc(@unit::text, r.resolved_at, @zone::text)::timestamptz AS at,
    count(*) FILTER (WHERE r.resolution = 'satisfied') AS satisfied,
    coalesce(percentile_disc(0.5) WITHIN GROUP (ORDER BY greatest(0, r.seconds))
        FILTER (WHERE r.resolution = 'satisfied'), 0)::double precision AS median,
    coalesce(percentile_disc(0.95) WITHIN GROUP (ORDER BY greatest(0, r.seconds))
        FILTER (WHERE r.resolution = 'satisfied'), 0)::double precision AS most,
    (sum(count(*)) OVER ())::bigint AS known,
    (min(min(r.resolved_at)) OVER ())::timestamptz AS known_from
FROM recent AS r
GROUP BY 1;

-- name: TrendDepth :many
-- By how much the number of open requests that are due grew or shrank, by hour or day: requests that became due, less those that were resolved.
-- What was due before the instant counts at the instant. open is how many open requests were read: as many as max_rows if there may be more.
WITH known AS (
    (
        SELECT
            q.metric_date,
            q.requested_at,
            q.due_at,
            q.resolved_at
        FROM analytics.rollup_requests AS q
        WHERE q.resolved_at >= @since::timestamptz
        ORDER BY q.resolved_at DESC
        LIMIT @max_rows::integer
    )
    UNION ALL
    (
        SELECT
            q.metric_date,
            q.requested_at,
            q.due_at,
            q.resolved_at
        FROM analytics.rollup_requests AS q
        WHERE q.resolved_at IS NULL
        LIMIT @max_rows::integer
    )
),

waited AS (
    SELECT
        greatest(k.requested_at, k.due_at, (k.metric_date + 1)::timestamp AT TIME ZONE @zone::text) AS due_at,
        k.resolved_at
    FROM known AS k
),

changes AS (
    SELECT
        w.due_at AS at,
        1 AS change
    FROM waited AS w
    WHERE w.due_at <= @until::timestamptz AND (w.resolved_at IS NULL OR w.due_at <= w.resolved_at)
    UNION ALL
    SELECT
        w.resolved_at AS at,
        -1 AS change
    FROM waited AS w
    WHERE w.resolved_at IS NOT NULL AND w.due_at <= w.resolved_at
)

SELECT
    date_trunc(@unit::text, greatest(c.at, @since::timestamptz), @zone::text)::timestamptz AS at,
    sum(c.change)::bigint AS change,
    (SELECT count(*) FROM known AS k WHERE k.resolved_at IS NULL) AS open
FROM changes AS c
GROUP BY 1
ORDER BY 1;
