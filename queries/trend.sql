-- name: TrendRuns :many
-- The latest runs that ended since the first of some instants, added up from each instant to the next. Durations are in seconds. known_from is when
-- the first run that was added up ended, and known is how many there were: as many as max_rows if there may be more.
WITH known AS (
    SELECT
        count(*) AS known,
        min(k.finished_at) AS known_from
    FROM (
        SELECT r.finished_at
        FROM analytics.rollup_runs AS r
        WHERE r.finished_at >= (@begins::timestamptz[])[1]
        ORDER BY r.finished_at DESC
        LIMIT @max_rows::integer
    ) AS k
)

SELECT
    b.place::integer AS place,
    s.complete::bigint AS complete,
    s.others::bigint AS others,
    coalesce(s.events, 0)::bigint AS events,
    coalesce(s.spread[1], 0)::double precision AS median,
    coalesce(s.spread[2], 0)::double precision AS most,
    k.known::bigint AS known,
    k.known_from::timestamptz AS known_from
FROM known AS k
CROSS JOIN unnest(@begins::timestamptz[]) WITH ORDINALITY AS b (at, place)
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE r.state = 'complete') AS complete,
        count(*) FILTER (WHERE r.state <> 'complete') AS others,
        sum(r.events) FILTER (WHERE r.state = 'complete') AS events,
        percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY date_part('epoch', r.finished_at - r.started_at))
            FILTER (WHERE r.state = 'complete') AS spread
    FROM analytics.rollup_runs AS r
    WHERE r.finished_at >= greatest(b.at, k.known_from) AND r.finished_at < coalesce((@begins::timestamptz[])[b.place + 1], 'infinity')
) AS s
WHERE k.known > 0;

-- name: TrendLatency :many
-- The latest requests that were satisfied, from each of some instants to the next: how many seconds each took from when it was due. known and
-- known_from are as in TrendRuns, for requests that were resolved.
WITH known AS (
    SELECT
        count(*) AS known,
        min(k.resolved_at) AS known_from
    FROM (
        SELECT q.resolved_at
        FROM analytics.rollup_requests AS q
        WHERE q.resolved_at >= (@begins::timestamptz[])[1]
        ORDER BY q.resolved_at DESC
        LIMIT @max_rows::integer
    ) AS k
)

SELECT
    b.place::integer AS place,
    s.satisfied::bigint AS satisfied,
    coalesce(s.spread[1], 0)::double precision AS median,
    coalesce(s.spread[2], 0)::double precision AS most,
    k.known::bigint AS known,
    k.known_from::timestamptz AS known_from
FROM known AS k
CROSS JOIN unnest(@begins::timestamptz[]) WITH ORDINALITY AS b (at, place)
CROSS JOIN LATERAL (
    SELECT
        count(*) AS satisfied,
        percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY greatest(0, date_part('epoch', q.resolved_at - greatest(
            q.requested_at, CASE WHEN isfinite(q.due_at) THEN q.due_at END, (q.metric_date + 1)::timestamp AT TIME ZONE @zone::text
        )))) AS spread
    FROM analytics.rollup_requests AS q
    WHERE q.resolved_at >= greatest(b.at, k.known_from) AND q.resolved_at < coalesce((@begins::timestamptz[])[b.place + 1], 'infinity')
        AND q.resolution = 'satisfied'
) AS s
WHERE k.known > 0;

-- name: TrendDepth :many
-- By how much the number of open requests that are due grew or shrank, from each of some instants to the next: requests that became due, less those
-- that were resolved. What was due before the first instant counts at that instant. open is how many open requests were read: as many as max_rows if
-- there may be more.
WITH known AS (
    (
        SELECT
            q.metric_date,
            q.requested_at,
            q.due_at,
            q.resolved_at
        FROM analytics.rollup_requests AS q
        WHERE q.resolved_at >= (@begins::timestamptz[])[1]
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

-- Most requests are resolved in the hour or day in which they become due, and change nothing.
moved AS (
    SELECT
        greatest(1, width_bucket(w.due_at, @begins::timestamptz[])) AS due,
        width_bucket(w.resolved_at, @begins::timestamptz[]) AS resolved
    FROM waited AS w
    WHERE w.due_at <= @until::timestamptz AND (w.resolved_at IS NULL OR w.due_at <= w.resolved_at)
)

SELECT
    c.place::integer AS place,
    sum(c.change)::bigint AS change,
    (SELECT count(*) FROM known AS k WHERE k.resolved_at IS NULL) AS open
FROM moved AS m
CROSS JOIN LATERAL (VALUES (m.due, 1), (m.resolved, -1)) AS c (place, change)
WHERE m.due IS DISTINCT FROM m.resolved AND c.place IS NOT NULL
GROUP BY 1;
