-- A number that comes from a sequence can come twice: an older copy of the data directory, a restore or a failover takes
-- the sequence back. So a run is known by a random token as well, its row counts every sign of life, and the run belongs
-- to the life of the database in which it began: the cluster's system identifier and its timeline. A run that was paused
-- while the database under it was replaced finds another token, fewer signs of life than it has given, or another life,
-- and may write nothing more.

-- Which cluster this is, and which of its histories: 7361845790284390411/00000002. Empty where the server does not say.
-- Every fence asks, so it reads the control file and nothing else.
CREATE FUNCTION analytics.life() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT c.system_identifier::text FROM pg_control_system() AS c) || '/'
        || CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END;
EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
    RETURN '';
END
$$;

REVOKE ALL ON FUNCTION analytics.life() FROM PUBLIC;

ALTER TABLE analytics.rollup_runs
ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid(),
ADD COLUMN life text NOT NULL DEFAULT '';

ALTER TABLE analytics.rollup_dates
-- Those of the run that run_id names.
ADD COLUMN token uuid,
ADD COLUMN life text NOT NULL DEFAULT '',
-- How many signs of life that run has given: a database that went back in time has fewer.
ADD COLUMN beat bigint NOT NULL DEFAULT 0;

-- What a run or a verification leaves on the primary and looks for on the follower it reads from. A follower may have
-- replayed more of an abandoned timeline than the primary has written of its own, so positions alone do not tell.
-- A mark is deleted once it was seen.
CREATE TABLE analytics.marks (
    token uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What a worker process has found of itself that keeps it from its work, in sentences: its machine's clock is wrong, or the
-- follower that it reads from is down. Empty where there is nothing.
ALTER TABLE analytics.workers ADD COLUMN trouble text NOT NULL DEFAULT '';

-- A worker whose clock was ahead has completed dates that were not over, with the events there were by then. They are not
-- complete: the daily job asks for them once they are over.
UPDATE analytics.rollup_dates
SET state = 'interrupted'
WHERE state = 'complete' AND completed_at < analytics.date_start(metric_date + 1);

-- Jobs whose instants lie further ahead than anything here puts them: a process whose clock was ahead has written them. A
-- job that waits for another attempt does so for two hours at most, and keeps others of its date or kind out meanwhile; it
-- begins now. One that runs began no later than now; else it would never be taken for the job of a dead worker.
DO $install$
BEGIN
    EXECUTE format($create$
        CREATE FUNCTION analytics.right_jobs() RETURNS SETOF bigint
        LANGUAGE sql SET search_path = pg_catalog, pg_temp
        AS $$
            UPDATE %1$I.river_job AS j
            SET
                state = CASE WHEN j.state = 'running' THEN j.state ELSE 'available' END,
                scheduled_at = least(j.scheduled_at, now()),
                attempted_at = least(j.attempted_at, now())
            WHERE j.id IN (
                SELECT r.id
                FROM %1$I.river_job AS r
                WHERE r.queue IN ('daymill', 'daymill_control') AND (
                    r.state IN ('available', 'retryable') AND r.scheduled_at > now() + interval '3 hours'
                    OR r.state = 'running' AND r.attempted_at > now() + interval '1 minute'
                )
                FOR UPDATE SKIP LOCKED
            )
            RETURNING j.id
        $$
    $create$, (SELECT i.river_schema FROM analytics.installation AS i));
END
$install$;

REVOKE ALL ON FUNCTION analytics.right_jobs() FROM PUBLIC;

-- Roles that work and do not own the schema go on working.
DO $grant$
DECLARE
    worker text;
BEGIN
    FOR worker IN
        SELECT DISTINCT quote_ident(pg_get_userbyid(g.grantee))
        FROM pg_catalog.pg_class AS c
        CROSS JOIN LATERAL aclexplode(c.relacl) AS g
        WHERE c.oid = 'analytics.rollup_dates'::regclass AND g.privilege_type = 'UPDATE' AND g.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION analytics.life(), analytics.right_jobs() TO %s', worker);
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON analytics.marks TO %s', worker);
    END LOOP;
END
$grant$;
