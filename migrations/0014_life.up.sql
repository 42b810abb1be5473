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

-- What keeps a worker process from its work, in one sentence; empty where nothing does. And how far its machine's clock is
-- ahead of the database's.
ALTER TABLE analytics.workers
ADD COLUMN trouble text NOT NULL DEFAULT '',
ADD COLUMN clock_ahead_ms bigint NOT NULL DEFAULT 0;

-- A worker whose clock was ahead has completed dates that were not over, with the events there were by then. They are not
-- complete: the daily job asks for them once they are over.
UPDATE analytics.rollup_dates
SET state = 'interrupted'
WHERE state = 'complete' AND completed_at < analytics.date_start(metric_date + 1);

-- The jobs of the kinds below that wait for an instant far ahead: a worker whose clock was ahead has scheduled them. Each
-- is unique, so it keeps out every later one. They begin now; returns how many there were. A job that waits for another
-- attempt, or for its turn, waits for less than `beyond`.
DO $install$
BEGIN
    EXECUTE format($create$
        CREATE FUNCTION analytics.bring_forward(kind text, beyond interval)
        RETURNS bigint
        LANGUAGE sql SET search_path = pg_catalog, pg_temp
        AS $$
            WITH moved AS (
                UPDATE %1$I.river_job AS j
                SET state = 'available', scheduled_at = now()
                WHERE j.id IN (
                    SELECT r.id
                    FROM %1$I.river_job AS r
                    WHERE r.kind = bring_forward.kind AND r.state IN ('available', 'retryable', 'scheduled')
                        AND r.scheduled_at > now() + bring_forward.beyond
                    FOR UPDATE SKIP LOCKED
                )
                RETURNING j.id
            )
            SELECT count(*) FROM moved
        $$
    $create$, (SELECT i.river_schema FROM analytics.installation AS i));
END
$install$;

REVOKE ALL ON FUNCTION analytics.bring_forward(text, interval) FROM PUBLIC;

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
        EXECUTE format('GRANT EXECUTE ON FUNCTION analytics.life(), analytics.bring_forward(text, interval) TO %s', worker);
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON analytics.marks TO %s', worker);
    END LOOP;
END
$grant$;
