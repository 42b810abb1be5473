-- name: MetricReadSize :one
-- The size of the other counts of an entity's rows in bytes, from one date to another. They may have many and long names.
SELECT coalesce(sum(octet_length(m.other_counts::text)), 0)::bigint AS bytes
FROM analytics.daily_entity_metrics AS m
WHERE m.entity_id = cast(sqlc.arg('entity_id')::text AS analytics.entity_id)
    AND m.metric_date BETWEEN @first_date::date AND @last_date::date;
