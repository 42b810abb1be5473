DO $remove$
DECLARE
    river_schema text := (SELECT i.river_schema FROM analytics.installation AS i);
BEGIN
    IF to_regclass(format('%I.river_job', river_schema)) IS NOT NULL THEN
        EXECUTE format('DROP TRIGGER IF EXISTS daymill_record_insert ON %I.river_job', river_schema);
        EXECUTE format('DROP TRIGGER IF EXISTS daymill_record_update ON %I.river_job', river_schema);
        EXECUTE format('DROP TRIGGER IF EXISTS daymill_record_delete ON %I.river_job', river_schema);
    END IF;
END
$remove$;

DROP TRIGGER audit_requests ON analytics.rollup_requests;
DROP FUNCTION analytics.audit_requests();
DROP TABLE analytics.audit;
DROP FUNCTION analytics.record_job();
DROP FUNCTION analytics.job_words(text);
DROP TABLE analytics.jobs;
