-- What belongs to every capability moves from the schema analytics to a schema of its own, daymill: the history of jobs, the
-- audit, the workers, the schedules, and the functions that serve them. The schema analytics keeps what people query and the
-- ledger of the rollup. A table takes its rows, indexes, sequences, triggers and grants along.

-- A role that may not create schemas finds this one made by somebody who may. Its owner is the owner of the tables, even where
-- somebody else migrates.
DO $schema$
DECLARE
    owner text := (SELECT pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class AS c WHERE c.oid = 'analytics.audit'::regclass);
BEGIN
    IF to_regnamespace('daymill') IS NOT NULL THEN
        RETURN;
    END IF;
    IF NOT has_database_privilege(current_database(), 'CREATE') THEN
        RAISE EXCEPTION 'the role % may not create the schema daymill: run GRANT CREATE ON DATABASE % TO %; or CREATE SCHEMA daymill AUTHORIZATION %;',
            quote_ident(current_user), quote_ident(current_database()), quote_ident(current_user), quote_ident(owner)
        USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('CREATE SCHEMA daymill AUTHORIZATION %I', owner);
END
$schema$;

ALTER TABLE analytics.jobs SET SCHEMA daymill;
ALTER TABLE analytics.audit SET SCHEMA daymill;
ALTER TABLE analytics.workers SET SCHEMA daymill;
ALTER TABLE analytics.schedules SET SCHEMA daymill;
ALTER FUNCTION analytics.is_river_job(oid) SET SCHEMA daymill;
ALTER FUNCTION analytics.job_words(text) SET SCHEMA daymill;
ALTER FUNCTION analytics.life() SET SCHEMA daymill;
ALTER FUNCTION analytics.record_job() SET SCHEMA daymill;
ALTER FUNCTION analytics.right_jobs() SET SCHEMA daymill;

-- The bodies of functions are text that names what has moved. Whoever may call a function still may.
DO $bodies$
DECLARE
    f record;
    moved text := '\manalytics\.(audit|is_river_job|job_words|jobs|life|record_job|right_jobs|schedules|workers)\M';
BEGIN
    FOR f IN
        SELECT pg_get_functiondef(p.oid) AS definition
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace IN ('analytics'::regnamespace, 'daymill'::regnamespace) AND p.prosrc ~ moved
    LOOP
        EXECUTE regexp_replace(f.definition, moved, 'daymill.\1', 'g');
    END LOOP;
END
$bodies$;

-- Whoever may look into the one schema may look into the other. Reading a table there needs a right on the table, as before.
DO $grant$
DECLARE
    g record;
BEGIN
    FOR g IN
        SELECT
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee,
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option
        FROM pg_catalog.pg_namespace AS n
        CROSS JOIN LATERAL aclexplode(n.nspacl) AS a
        WHERE n.nspname = 'analytics' AND a.privilege_type = 'USAGE' AND a.grantee <> n.nspowner
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA daymill TO %s%s', g.grantee, g.option);
    END LOOP;
END
$grant$;

-- The history has the jobs of these queues, rather than those of a list of kinds: a new kind needs no migration, and an
-- application's own kind may have the name of one of Daymill's. Kinds with too many jobs for it have a queue of their own.
DO $triggers$
DECLARE
    river_schema text := (SELECT i.river_schema FROM analytics.installation AS i);
    queues text := $queues$('daymill', 'daymill_control')$queues$;
BEGIN
    EXECUTE format($create$
        CREATE OR REPLACE TRIGGER daymill_record_insert
        AFTER INSERT ON %1$I.river_job
        FOR EACH ROW WHEN (NEW.queue IN %2$s)
        EXECUTE FUNCTION daymill.record_job()
    $create$, river_schema, queues);

    EXECUTE format($create$
        CREATE OR REPLACE TRIGGER daymill_record_update
        AFTER UPDATE ON %1$I.river_job
        FOR EACH ROW WHEN (
            NEW.queue IN %2$s
            AND (NEW.state, NEW.attempt, NEW.scheduled_at, NEW.priority, NEW.errors, NEW.metadata -> 'output')
            IS DISTINCT FROM (OLD.state, OLD.attempt, OLD.scheduled_at, OLD.priority, OLD.errors, OLD.metadata -> 'output')
        )
        EXECUTE FUNCTION daymill.record_job()
    $create$, river_schema, queues);

    EXECUTE format($create$
        CREATE OR REPLACE TRIGGER daymill_record_delete
        AFTER DELETE ON %1$I.river_job
        FOR EACH ROW WHEN (OLD.queue IN %2$s)
        EXECUTE FUNCTION daymill.record_job()
    $create$, river_schema, queues);
END
$triggers$;
