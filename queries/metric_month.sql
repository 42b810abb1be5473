-- name: MetricMonth :one
-- Creates the partition of a date's month if metrics are partitioned and it is missing; reports whether it did.
SELECT analytics.metric_month(@metric_date::date)::boolean AS created;

-- name: MetricMonths :one
-- Creates the partitions of this month and the next two, as MetricMonth does; counts those that were created.
SELECT count(*) FILTER (
    WHERE analytics.metric_month((date_trunc('month', analytics.date_of(now())) + i.month * interval '1 month')::date)
)::bigint AS created
FROM generate_series(0, 2) AS i (month);

-- name: MetricMonthsKept :one
-- How many months of metrics are kept besides this one, and the first date that is kept; 0 and no date if all are. Whether metrics are partitioned.
SELECT
    coalesce(i.metric_months, 0)::integer AS months,
    (CASE WHEN i.metric_months IS NOT NULL THEN analytics.metrics_from(now()) END)::date AS from_date,
    EXISTS(
        SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = 'analytics.daily_entity_metrics'::regclass AND c.relkind = 'p'
    )::boolean AS partitioned
FROM analytics.installation AS i;

-- name: MetricMonthsFrom :one
-- The first date whose metrics are kept; no date if all are. Everybody may ask that.
SELECT nullif(analytics.metrics_from(now()), '-infinity')::date AS from_date;

-- name: MetricMonthsKeep :exec
-- Sets how many months of metrics are kept besides the current one; 0 means all.
UPDATE analytics.installation SET metric_months = nullif(@months::integer, 0);

-- name: MetricMonthsOld :many
-- Partitions whose metrics are no longer kept, oldest first, with the number of rows that Postgres estimates.
SELECT
    m.part::text AS part,
    m.first_date::date AS first_date,
    m.next_date::date AS next_date,
    greatest(c.reltuples, 0)::bigint AS rows
FROM analytics.metric_months() AS m
INNER JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(m.part)
WHERE m.next_date <= (SELECT analytics.metrics_from(now()))
ORDER BY m.first_date;

-- name: MetricMonthDrop :one
-- Drops a partition whose metrics are no longer kept; reports whether it did.
SELECT analytics.drop_metric_month(@part::text)::boolean AS dropped;

-- name: MetricMonthsDetached :many
-- Tables with the name of a month's partition that are not a partition of the metrics, or no longer quite, if metrics are partitioned.
SELECT
    format('%I.%I', n.nspname, c.relname)::text AS part,
    to_date(right(c.relname, 7), 'YYYY_MM')::date AS first_date,
    (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month')::date AS next_date,
    greatest(c.reltuples, 0)::bigint AS rows,
    coalesce(i.inhdetachpending, false)::boolean AS pending
FROM pg_catalog.pg_class AS m
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = m.relnamespace
INNER JOIN pg_catalog.pg_class AS c
    ON c.relnamespace = n.oid AND c.relkind = 'r' AND c.relname ~ '^daily_entity_metrics_[0-9]{4}_(0[1-9]|1[0-2])$'
LEFT JOIN pg_catalog.pg_inherits AS i ON i.inhparent = m.oid AND i.inhrelid = c.oid
WHERE m.oid = to_regclass('analytics.daily_entity_metrics') AND m.relkind = 'p' AND coalesce(i.inhdetachpending, true)
ORDER BY c.relname;
