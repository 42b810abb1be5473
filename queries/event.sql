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

-- name: EventExistsBefore :one
-- Whether any event happened before an instant.
SELECT EXISTS(SELECT FROM analytics.events AS e WHERE e.created_at < @before_instant::timestamptz);

-- name: EventDates :many
-- Which of some dates have events: one look into the index each.
SELECT d.metric_date::date AS metric_date
FROM (SELECT unnest(@metric_dates::date[]) AS metric_date) AS d
WHERE EXISTS (
    SELECT FROM analytics.events AS e
    WHERE e.created_at >= analytics.date_start(d.metric_date)
        AND e.created_at < analytics.date_start(d.metric_date + 1)
        AND e.entity_id IS NOT NULL
);
