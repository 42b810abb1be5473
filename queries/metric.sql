-- name: MetricRange :many
-- Rows of a date in key order after an entity, to compare with what the scan counted.
SELECT
    m.entity_id,
    m.views_count,
    m.clicks_count,
    m.saves_count,
    m.skips_count,
    m.other_counts
FROM analytics.daily_entity_metrics AS m
WHERE m.metric_date = @metric_date::date
    AND (sqlc.narg('after_entity')::text IS NULL OR m.entity_id > sqlc.narg('after_entity')::text::analytics.entity_id)
ORDER BY m.entity_id
LIMIT @max_rows::integer;

-- name: MetricScope :many
-- Rows of some entities of a date, in key order.
SELECT
    m.entity_id,
    m.views_count,
    m.clicks_count,
    m.saves_count,
    m.skips_count,
    m.other_counts
FROM analytics.daily_entity_metrics AS m
WHERE m.metric_date = @metric_date::date
    AND m.entity_id = ANY(cast(sqlc.arg('entities')::text[] AS analytics.entity_id[]))
ORDER BY m.entity_id;

-- name: MetricInsert :copyfrom
-- Inserts the new rows of a batch with COPY, which takes half as long as INSERT, and writes less WAL. Entities ascend, so the index is filled in
-- order.
INSERT INTO analytics.daily_entity_metrics
(entity_id, metric_date, views_count, clicks_count, saves_count, skips_count, other_counts)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: MetricUpsert :exec
-- Writes the rows of a batch that differ or may differ, and deletes those whose entity no longer has events on the date. Entities ascend, so the
-- index is read in order.
WITH gone AS (
    DELETE FROM analytics.daily_entity_metrics AS m
    USING (SELECT unnest(@gone_ids::text[]) AS entity_id) AS r
    WHERE m.metric_date = @metric_date::date
        AND m.entity_id = r.entity_id::analytics.entity_id
)

INSERT INTO analytics.daily_entity_metrics AS m
(entity_id, metric_date, views_count, clicks_count, saves_count, skips_count, other_counts)
SELECT
    r.entity_id::analytics.entity_id,
    @metric_date::date,
    r.views_count,
    r.clicks_count,
    r.saves_count,
    r.skips_count,
    r.other_counts::jsonb
FROM (
    SELECT
        unnest(@entity_ids::text[]) AS entity_id,
        unnest(@views_counts::integer[]) AS views_count,
        unnest(@clicks_counts::integer[]) AS clicks_count,
        unnest(@saves_counts::integer[]) AS saves_count,
        unnest(@skips_counts::integer[]) AS skips_count,
        unnest(@other_counts::text[]) AS other_counts
) AS r
ON CONFLICT (metric_date, entity_id) DO UPDATE
    SET
        views_count = excluded.views_count,
        clicks_count = excluded.clicks_count,
        saves_count = excluded.saves_count,
        skips_count = excluded.skips_count,
        other_counts = excluded.other_counts,
        last_updated_at = excluded.last_updated_at;

-- name: MetricSums :one
-- What is stored of a date in a range of the primary key: the number of rows, the sums of their counts, and the entity of row max_rows, after
-- which the next range continues. That is empty if there are fewer rows. Postgres itself defines the ranges from first to last, so no row is
-- between two of them, whatever order a client assumes. Many rows have the same other counts, which are added up once for all of them: that
-- takes an eighth of the time. The last entity is looked up in the index alone: to keep the rows for it would take longer.
SELECT
    coalesce(sum(g.rows), 0)::bigint AS rows,
    least(coalesce(sum(g.events + g.rows * (
        SELECT coalesce(sum(analytics.other_count(o.value)), 0)
        FROM jsonb_each(CASE jsonb_typeof(g.other_counts) WHEN 'object' THEN g.other_counts ELSE '{}' END) AS o
    )), 0), 9223372036854775807)::bigint AS events,
    coalesce((
        SELECT m.entity_id::text
        FROM analytics.daily_entity_metrics AS m
        WHERE m.metric_date = sqlc.arg('metric_date')::date
            AND (sqlc.narg('after_entity')::text IS NULL OR m.entity_id > sqlc.narg('after_entity')::text::analytics.entity_id)
        ORDER BY m.entity_id
        OFFSET sqlc.arg('max_rows')::integer - 1
        LIMIT 1
    ), '')::text AS last_entity
FROM (
    SELECT
        s.other_counts,
        count(*) AS rows,
        sum(s.events) AS events
    FROM (
        SELECT
            m.views_count::bigint + m.clicks_count + m.saves_count + m.skips_count AS events,
            m.other_counts
        FROM analytics.daily_entity_metrics AS m
        WHERE m.metric_date = sqlc.arg('metric_date')::date
            AND (sqlc.narg('after_entity')::text IS NULL OR m.entity_id > sqlc.narg('after_entity')::text::analytics.entity_id)
        ORDER BY m.entity_id
        LIMIT sqlc.arg('max_rows')::integer
    ) AS s
    GROUP BY s.other_counts
) AS g;
