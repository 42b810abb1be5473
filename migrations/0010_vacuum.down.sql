CREATE OR REPLACE FUNCTION analytics.audit_requests() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO analytics.audit (actor, via, action, target, detail)
    SELECT
        r.requested_by,
        r.requested_via,
        'request dates',
        CASE
            WHEN min(r.metric_date) = max(r.metric_date) THEN min(r.metric_date)::text
            ELSE min(r.metric_date) || '..' || max(r.metric_date)
        END,
        jsonb_build_object('dates', count(DISTINCT r.metric_date))
    FROM appended AS r
    WHERE r.backfill_id IS NULL
    GROUP BY r.requested_by, r.requested_via;
    RETURN NULL;
END
$$;

ALTER TABLE analytics.jobs RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE analytics.rollup_runs RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE analytics.rollup_requests RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
