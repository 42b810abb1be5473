-- name: DemoOpen :one
-- The number of dates that are requested and not complete yet.
SELECT count(DISTINCT q.metric_date) FROM analytics.rollup_requests AS q WHERE q.resolved_at IS NULL;

-- name: DemoTotals :one
-- The totals of a demo's runs.
SELECT
    count(DISTINCT r.metric_date) AS dates,
    coalesce(max(r.longest_statement_ms), 0)::double precision AS longest_statement_ms,
    coalesce(sum(r.rows_inserted), 0)::bigint AS rows_inserted,
    coalesce(sum(r.rows_updated), 0)::bigint AS rows_updated,
    coalesce(sum(r.events), 0)::bigint AS events
FROM analytics.rollup_runs AS r
WHERE r.state = 'complete' AND r.id > @after_id::bigint;

-- name: DemoLastRun :one
SELECT coalesce(max(r.id), 0)::bigint AS id FROM analytics.rollup_runs AS r;

-- name: DemoSums :one
-- All events, and the sum of all counts: they should be the same.
SELECT
    (SELECT count(*) FROM analytics.events) AS events,
    (
        SELECT
            coalesce(sum(
                m.views_count::bigint + m.clicks_count + m.saves_count + m.skips_count
                + (SELECT coalesce(sum(analytics.other_count(o.value)), 0) FROM jsonb_each(m.other_counts) AS o)
            ), 0)::bigint
        FROM analytics.daily_entity_metrics AS m
    )::bigint AS counted;
