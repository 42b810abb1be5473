-- What a busy queue leaves behind.
--
-- Requests are claimed and resolved, jobs are taken and finished: each row is rewritten two or three times and then stays
-- for as long as the retention says. Autovacuum waits by default until a fifth of a table is dead, which is a fifth of 400
-- days here. The queries that look for what is open read small partial indexes, in which as much would be dead: they would
-- grow slower with the age of an installation, and not with its load. So a fiftieth suffices.
ALTER TABLE analytics.rollup_requests SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE analytics.rollup_runs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE analytics.jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- The triggers of `daymill source watch` append a request in every transaction that has late events. The request says so
-- for a week; a line of the audit for each stayed for 400 days, and cost the application four entries in indexes. Nobody has
-- asked for anything there: who has the table watched is in the audit. Somebody who calls himself `watch` is no trigger.
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
    WHERE r.backfill_id IS NULL AND NOT (r.requested_via = 'watch' AND pg_trigger_depth() > 1)
    GROUP BY r.requested_by, r.requested_via;
    RETURN NULL;
END
$$;
