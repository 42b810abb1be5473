DO $triggers$
DECLARE
    river_schema text := (SELECT i.river_schema FROM analytics.installation AS i);
    queues text := $queues$('daymill', 'daymill_control')$queues$;
BEGIN
    IF to_regclass(format('%I.river_job', river_schema)) IS NULL THEN
        RETURN;
    END IF;
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

DO $install$
DECLARE
    river_schema text := (SELECT i.river_schema FROM analytics.installation AS i);
BEGIN
    IF to_regclass(format('%I.river_job', river_schema)) IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format($create$
        CREATE OR REPLACE FUNCTION capture.rescue_jobs(process text, silence interval)
        RETURNS bigint
        LANGUAGE sql
        SET search_path = pg_catalog, pg_temp
        AS $$
            INSERT INTO capture.process AS p (name, beat_at) VALUES (process, now())
            ON CONFLICT (name) DO UPDATE SET beat_at = excluded.beat_at;
            DELETE FROM capture.process AS p WHERE p.beat_at < now() - interval '1 day';
            WITH rescued AS (
                UPDATE %1$I.river_job AS j
                SET state = 'available', scheduled_at = now(), max_attempts = least(j.max_attempts + 1, 32000)
                FROM (
                    SELECT r.id
                    FROM %1$I.river_job AS r
                    WHERE r.state = 'running' AND r.queue = 'daymill_capture' AND r.attempted_at < now() - silence
                        AND NOT r.metadata ? 'cancel_attempted_at' AND NOT EXISTS (
                            SELECT FROM capture.process AS p
                            WHERE p.name = r.attempted_by[array_upper(r.attempted_by, 1)] AND p.beat_at >= now() - silence
                        )
                    FOR UPDATE OF r SKIP LOCKED
                ) AS dead
                WHERE j.id = dead.id
                RETURNING j.id
            )
            SELECT count(*) FROM rescued;
        $$
    $create$, river_schema);
END
$install$;
