-- Which tables are captured, and snapshots: rows that were there before are read chunk by chunk and put into the log.

-- The patterns of the tables that a stream captures, and the environment variable that holds its database's URL. A stream
-- without patterns is taken down by its owner: the slot and the publication, or the triggers, are removed.
ALTER TABLE capture.stream
ADD COLUMN url text NOT NULL DEFAULT '$DATABASE_URL',
ADD COLUMN tables text[] NOT NULL DEFAULT '{}';

-- Processes that work jobs of capture, and when each was last heard of.
CREATE TABLE capture.process (
    name text PRIMARY KEY,
    beat_at timestamptz NOT NULL
);

-- Says that a process is alive, and puts the jobs of those that have not been heard of for a while back into the queue. River by
-- itself does so after more than two minutes. A death is none of the job's attempts. It returns how many jobs those were.
DO $install$
DECLARE
    river_schema text := current_setting('daymill.river_schema');
BEGIN
    EXECUTE format($create$
        CREATE FUNCTION capture.rescue_jobs(process text, silence interval)
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
REVOKE ALL ON FUNCTION capture.rescue_jobs(text, interval) FROM PUBLIC;
