-- name: MetricReadSize :one
-- How many bytes the other counts of an entity's rows have, from one date to another. Names may be long, and many.
SELECT coalesce(sum(octet_length(m.other_counts::text)), 0)::bigint AS bytes
FROM analytics.daily_entity_metrics AS m
WHERE m.entity_id = cast(sqlc.arg('entity_id')::text AS analytics.entity_id)
    AND m.metric_date BETWEEN @first_date::date AND @last_date::date;
