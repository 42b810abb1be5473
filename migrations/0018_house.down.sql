ALTER FUNCTION daymill.right_jobs() SET SCHEMA analytics;
ALTER FUNCTION daymill.record_job() SET SCHEMA analytics;
ALTER FUNCTION daymill.life() SET SCHEMA analytics;
ALTER FUNCTION daymill.job_words(text) SET SCHEMA analytics;
ALTER FUNCTION daymill.is_river_job(oid) SET SCHEMA analytics;
ALTER TABLE daymill.schedules SET SCHEMA analytics;
ALTER TABLE daymill.workers SET SCHEMA analytics;
ALTER TABLE daymill.audit SET SCHEMA analytics;
ALTER TABLE daymill.jobs SET SCHEMA analytics;

DO $bodies$
DECLARE
    f record;
    moved text := '\mdaymill\.(audit|is_river_job|job_words|jobs|life|record_job|right_jobs|schedules|workers)\M';
BEGIN
    FOR f IN
        SELECT pg_get_functiondef(p.oid) AS definition
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'analytics'::regnamespace AND p.prosrc ~ moved
    LOOP
        EXECUTE regexp_replace(f.definition, moved, 'analytics.\1', 'g');
    END LOOP;
END
$bodies$;

DO $triggers$
DECLARE
    river_schema text := (SELECT i.river_schema FROM analytics.installation AS i);
    kinds text := $kinds$('rollup_day', 'backfill', 'daily_rollup', 'prune_ledger', 'verify_dates')$kinds$;
BEGIN
    IF to_regclass(format('%I.river_job', river_schema)) IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format($create$
        CREATE OR REPLACE TRIGGER daymill_record_insert
        AFTER INSERT ON %1$I.river_job
        FOR EACH ROW WHEN (NEW.kind IN %2$s)
        EXECUTE FUNCTION analytics.record_job()
    $create$, river_schema, kinds);

    EXECUTE format($create$
        CREATE OR REPLACE TRIGGER daymill_record_update
        AFTER UPDATE ON %1$I.river_job
        FOR EACH ROW WHEN (
            NEW.kind IN %2$s
            AND (NEW.state, NEW.attempt, NEW.scheduled_at, NEW.priority, NEW.errors, NEW.metadata -> 'output')
            IS DISTINCT FROM (OLD.state, OLD.attempt, OLD.scheduled_at, OLD.priority, OLD.errors, OLD.metadata -> 'output')
        )
        EXECUTE FUNCTION analytics.record_job()
    $create$, river_schema, kinds);

    EXECUTE format($create$
        CREATE OR REPLACE TRIGGER daymill_record_delete
        AFTER DELETE ON %1$I.river_job
        FOR EACH ROW WHEN (OLD.kind IN %2$s)
        EXECUTE FUNCTION analytics.record_job()
    $create$, river_schema, kinds);
END
$triggers$;

-- Somebody else may have put tables of their own there: River's, for instance.
DO $schema$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace = 'daymill'::regnamespace) THEN
        DROP SCHEMA daymill;
    END IF;
END
$schema$;
