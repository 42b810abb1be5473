-- name: MetricReadRange :many
-- Rows of an entity from one date to another, earliest first.
SELECT
    m.metric_date,
    m.views_count,
    m.clicks_count,
    m.saves_count,
    m.skips_count,
    m.other_counts
FROM analytics.daily_entity_metrics AS m
WHERE m.entity_id = cast(sqlc.arg('entity_id')::text AS analytics.entity_id)
    AND m.metric_date BETWEEN @first_date::date AND @last_date::date
ORDER BY m.metric_date
LIMIT @max_rows::integer;

-- name: MetricReadBounds :many
-- The first and last date with a row of an entity; no row if there is none.
(
    SELECT m.metric_date
    FROM analytics.daily_entity_metrics AS m
    WHERE m.entity_id = cast(sqlc.arg('entity_id')::text AS analytics.entity_id)
    ORDER BY m.metric_date
    LIMIT 1
)
UNION ALL
(
    SELECT m.metric_date
    FROM analytics.daily_entity_metrics AS m
    WHERE m.entity_id = cast(sqlc.arg('entity_id')::text AS analytics.entity_id)
    ORDER BY m.metric_date DESC
    LIMIT 1
);

-- name: MetricReadNext :many
-- Entities of a span of ids in key order: from the first id, and before the second if there is one. Each takes one index lookup, however many
-- rows the previous one has.
WITH RECURSIVE found AS (
    (
        SELECT m.entity_id
        FROM analytics.daily_entity_metrics AS m
        WHERE m.entity_id >= cast(sqlc.arg('from_entity')::text AS analytics.entity_id)
        ORDER BY m.entity_id
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT n.entity_id
        FROM analytics.daily_entity_metrics AS n
        WHERE n.entity_id > f.entity_id
        ORDER BY n.entity_id
        LIMIT 1
    )
    FROM found AS f
    WHERE f.entity_id IS NOT NULL
        AND (sqlc.narg('before_entity')::text IS NULL OR f.entity_id < cast(sqlc.narg('before_entity')::text AS analytics.entity_id))
)

SELECT f.entity_id::analytics.entity_id AS entity_id
FROM found AS f
WHERE f.entity_id IS NOT NULL
    AND (sqlc.narg('before_entity')::text IS NULL OR f.entity_id < cast(sqlc.narg('before_entity')::text AS analytics.entity_id))
LIMIT @max_rows::integer;

-- name: MetricReadDates :many
-- Dates that were ever complete and whose metrics are kept, and how many rows each had then; latest first.
SELECT
    d.metric_date,
    coalesce(d.entities, 0)::bigint AS entities
FROM analytics.rollup_dates AS d
WHERE d.metric_date BETWEEN @first_date::date AND @last_date::date AND d.completed_at IS NOT NULL
    AND d.metric_date >= (SELECT analytics.metrics_from(now()))
ORDER BY d.metric_date DESC
LIMIT @max_rows::integer;

-- name: MetricReadTop :many
-- The entities with the highest counts over some dates, in one of the four columns, of all events, or of another event type.
SELECT
    m.entity_id,
    least(sum(
        CASE @metric::text
            WHEN 'views' THEN m.views_count
            WHEN 'clicks' THEN m.clicks_count
            WHEN 'saves' THEN m.saves_count
            WHEN 'skips' THEN m.skips_count
            WHEN 'events' THEN m.views_count::bigint + m.clicks_count + m.saves_count + m.skips_count + CASE
                WHEN m.other_counts = '{}' OR jsonb_typeof(m.other_counts) <> 'object' THEN 0
                ELSE (SELECT coalesce(sum(analytics.other_count(o.value)), 0) FROM jsonb_each(m.other_counts) AS o)
            END
            ELSE coalesce(analytics.other_count(m.other_counts -> @event_type::text), 0)
        END
    ), 9223372036854775807)::bigint AS total
FROM analytics.daily_entity_metrics AS m
WHERE m.metric_date = ANY(@metric_dates::date[])
GROUP BY m.entity_id
ORDER BY total DESC, m.entity_id
LIMIT @max_rows::integer;

-- name: MetricReadNames :many
-- Names of other event types among the first rows of a date.
SELECT DISTINCT k.name::text AS name
FROM (
    SELECT m.other_counts
    FROM analytics.daily_entity_metrics AS m
    WHERE m.metric_date = @metric_date::date
    ORDER BY m.entity_id
    LIMIT 1000
) AS s
CROSS JOIN LATERAL jsonb_object_keys(CASE jsonb_typeof(s.other_counts) WHEN 'object' THEN s.other_counts ELSE '{}' END) AS k (name)
WHERE length(k.name) <= @max_length::integer
ORDER BY 1
LIMIT @max_rows::integer;

-- name: MetricReadBefore :many
-- The sum of some entities over some dates, in one of the four columns, of all events, or of another event type.
SELECT
    e.id::text AS entity_id,
    (
        SELECT
            least(coalesce(sum(
                CASE @metric::text
                    WHEN 'views' THEN m.views_count
                    WHEN 'clicks' THEN m.clicks_count
                    WHEN 'saves' THEN m.saves_count
                    WHEN 'skips' THEN m.skips_count
                    WHEN 'events' THEN m.views_count::bigint + m.clicks_count + m.saves_count + m.skips_count + CASE
                        WHEN m.other_counts = '{}' OR jsonb_typeof(m.other_counts) <> 'object' THEN 0
                        ELSE (SELECT coalesce(sum(analytics.other_count(o.value)), 0) FROM jsonb_each(m.other_counts) AS o)
                    END
                    ELSE coalesce(analytics.other_count(m.other_counts -> @event_type::text), 0)
                END
            ), 0), 9223372036854775807)
        FROM analytics.daily_entity_metrics AS m
        WHERE m.entity_id = cast(e.id AS analytics.entity_id) AND m.metric_date = ANY(@metric_dates::date[])
    )::bigint AS total
FROM unnest(@entities::text[]) AS e (id);
