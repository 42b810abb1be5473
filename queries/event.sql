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
-- A slice event by event, for where counting leaves nearly as many rows as there are events: that costs Postgres more
-- than sending them does.
SELECT
    e.entity_id::analytics.entity_id AS entity_id,
    coalesce(e.event_type, 'unknown')::text AS event_type
FROM analytics.events AS e
WHERE e.created_at >= @from_instant::timestamptz
    AND e.created_at < @to_instant::timestamptz
    AND e.entity_id IS NOT NULL
    AND (sqlc.narg('after_entity')::text IS NULL OR e.entity_id > sqlc.narg('after_entity')::text::analytics.entity_id)
    AND (sqlc.narg('up_to_entity')::text IS NULL OR e.entity_id <= sqlc.narg('up_to_entity')::text::analytics.entity_id);

-- name: EventSliceSize :one
-- How many events there are between two instants, or at_most where there are more: a look into the index, mostly.
SELECT count(*) AS events
FROM (
    SELECT 1 AS one FROM analytics.events AS e
    WHERE e.created_at >= @from_instant::timestamptz AND e.created_at < @to_instant::timestamptz
    LIMIT @at_most::integer
) AS s;

-- name: EventRead :many
-- The events between two instants one by one, to be read through a cursor where a slice cannot be made small enough. The
-- entities of other passes are left out of the row and not out of the result: however few are wanted, so many rows of
-- the result are so much work.
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
-- Which of some dates have events: one look into the index each. The bounds are computed once, and the look is no
-- join, which the planner might do by reading the whole table for every date.
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
-- Counts of some entities, by whatever index leads to them soonest.
SELECT
    e.entity_id::analytics.entity_id AS entity_id,
    coalesce(e.event_type, 'unknown')::text AS event_type,
    count(*) AS events
FROM analytics.events AS e
WHERE e.entity_id = ANY(cast(sqlc.arg('entities')::text[] AS analytics.entity_id[]))
    AND e.created_at >= @from_instant::timestamptz
    AND e.created_at < @to_instant::timestamptz
GROUP BY e.entity_id, coalesce(e.event_type, 'unknown');
