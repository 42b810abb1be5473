DO $remove$
DECLARE
    river_schema text := (SELECT i.river_schema FROM analytics.installation AS i);
BEGIN
    IF to_regclass(format('%I.river_job', river_schema)) IS NOT NULL THEN
        EXECUTE format('DROP TRIGGER IF EXISTS daymill_request_insert ON %I.river_job', river_schema);
        EXECUTE format('DROP TRIGGER IF EXISTS daymill_request_update ON %I.river_job', river_schema);
        EXECUTE format('DROP TRIGGER IF EXISTS daymill_request_delete ON %I.river_job', river_schema);
    END IF;
END
$remove$;

DROP FUNCTION analytics.dates_with_job();
DROP FUNCTION analytics.promote_jobs(timestamptz, interval);
DROP FUNCTION analytics.touch_jobs(interval, interval);
DROP FUNCTION analytics.rescue_jobs(interval);
DROP FUNCTION analytics.request_from_job_change();
DROP FUNCTION analytics.request_from_job_insert();
DROP FUNCTION analytics.job_date(jsonb);
DROP FUNCTION analytics.enqueue_rollup(date);
DROP FUNCTION analytics.enqueue_rollup(date, date, text);
