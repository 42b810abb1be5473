-- name: EventSlice :many
-- One slice of a date: counts per entity and event type between two instants, for the entities of one pass.
SELECT
    e.entity_id::analytics.entity_id AS entity_id,
    coalesce(e.event_type, 'unknown')::text AS event_type,
    count(*) AS events
FROM analytics.events AS e
WHERE e.created_at >= @from_instant::timestamptz
    AND e.created_at < @to_instant::timestamptz
    AND e.entity_id IS NOT NULL
    AND (sqlc.narg('after_entity')::text IS NULL OR e.entity_id > sqlc.narg('after_entity')::text::analytics.entity_id)
    AND (sqlc.narg('up_to_entity')::text IS NULL OR e.entity_id <= sqlc.narg('up_to_entity')::text::analytics.entity_id)
GROUP BY e.entity_id, coalesce(e.event_type, 'unknown');

-- name: EventSliceRaw :many
-- A slice event by event, if there are nearly as many counts as events: counting costs Postgres more than sending the events.
SELECT
    e.entity_id::analytics.entity_id AS entity_id,
    coalesce(e.event_type, 'unknown')::text AS event_type
FROM analytics.events AS e
WHERE e.created_at >= @from_instant::timestamptz
    AND e.created_at < @to_instant::timestamptz
    AND e.entity_id IS NOT NULL
    AND (sqlc.narg('after_entity')::text IS NULL OR e.entity_id > sqlc.narg('after_entity')::text::analytics.entity_id)
    AND (sqlc.narg('up_to_entity')::text IS NULL OR e.entity_id <= sqlc.narg('up_to_entity')::text::analytics.entity_id);

-- name: EventFew :many
-- The events between two instants one by one, at most at_most of them. A small date needs no other read.
SELECT
    e.entity_id::analytics.entity_id AS entity_id,
    coalesce(e.event_type, 'unknown')::text AS event_type
FROM analytics.events AS e
WHERE e.created_at >= @from_instant::timestamptz
    AND e.created_at < @to_instant::timestamptz
    AND e.entity_id IS NOT NULL
LIMIT @at_most::integer;

-- name: EventSliceSize :one
-- The number of events between two instants, or at_most if there are more. It mostly reads only the index.
SELECT count(*) AS events
FROM (
    SELECT 1 AS one FROM analytics.events AS e
    WHERE e.created_at >= @from_instant::timestamptz AND e.created_at < @to_instant::timestamptz
    LIMIT @at_most::integer
) AS s;

-- name: EventRead :many
-- The events between two instants one by one, read through a cursor if a slice cannot be made small enough. Events of other passes are rows
-- without an entity, and are not left out: so the work per row of the result is the same, however few events are needed.
SELECT
    (CASE
        WHEN
            (sqlc.narg('after_entity')::text IS NULL OR e.entity_id > sqlc.narg('after_entity')::text::analytics.entity_id)
            AND (sqlc.narg('up_to_entity')::text IS NULL OR e.entity_id <= sqlc.narg('up_to_entity')::text::analytics.entity_id)
            THEN e.entity_id
    END)::analytics.entity_id AS entity_id,
    coalesce(e.event_type, 'unknown')::text AS event_type
FROM analytics.events AS e
WHERE e.created_at >= @from_instant::timestamptz
    AND e.created_at < @to_instant::timestamptz
    AND e.entity_id IS NOT NULL;

-- name: EventExistsBefore :one
-- Whether any event happened before an instant.
SELECT EXISTS(SELECT 1 FROM analytics.events AS e WHERE e.created_at < @before_instant::timestamptz LIMIT 1);

-- name: EventExistsBetween :one
-- Whether any event happened from an instant on and before another.
SELECT EXISTS(
    SELECT 1 FROM analytics.events AS e
    WHERE e.created_at >= @from_instant::timestamptz AND e.created_at < @to_instant::timestamptz
    LIMIT 1
);

-- name: EventDates :many
-- Which of some dates have events, with one index lookup each. The bounds are computed once. The lookup is not a join, which the planner might
-- execute by reading the whole table for every date.
WITH bounds AS MATERIALIZED (
    SELECT
        d.metric_date,
        analytics.date_start(d.metric_date) AS from_instant,
        analytics.date_start(d.metric_date + 1) AS to_instant
    FROM (SELECT unnest(@metric_dates::date[]) AS metric_date) AS d
)

SELECT b.metric_date::date AS metric_date
FROM bounds AS b
CROSS JOIN LATERAL (
    SELECT e.created_at
    FROM analytics.events AS e
    WHERE e.created_at >= b.from_instant AND e.created_at < b.to_instant AND e.entity_id IS NOT NULL
    LIMIT 1
) AS one;

-- name: EventScope :many
-- Counts of some entities, by the index that finds them fastest.
SELECT
    e.entity_id::analytics.entity_id AS entity_id,
    coalesce(e.event_type, 'unknown')::text AS event_type,
    count(*) AS events
FROM analytics.events AS e
WHERE e.entity_id = ANY(cast(sqlc.arg('entities')::text[] AS analytics.entity_id[]))
    AND e.created_at >= @from_instant::timestamptz
    AND e.created_at < @to_instant::timestamptz
GROUP BY e.entity_id, coalesce(e.event_type, 'unknown');

-- name: EventCount :one
-- How many events there are between two instants, at most a limit.
SELECT count(*) AS events
FROM (
    SELECT 1 AS one
    FROM analytics.events AS e
    WHERE e.created_at >= @from_instant::timestamptz AND e.created_at < @to_instant::timestamptz AND e.entity_id IS NOT NULL
    LIMIT @at_most::integer
) AS counted;
