-- What analytics.events reads, directly and through other views, with the names that the relations had when the views were created. So a
-- table that takes the name of one of them is noticed under a view that was written by hand, and under a source that is a view.
CREATE TABLE analytics.source_reads (
    relation_id bigint PRIMARY KEY,
    relation_schema text NOT NULL,
    relation_name text NOT NULL,
    -- Differs after one of the views was created or replaced.
    written text NOT NULL
);

COMMENT ON TABLE analytics.source_reads IS
    'Relations that analytics.events reads, with the names that they had when it was created. Workers write it.';

-- A transaction of Daymill's that repeats a sweep writes its own id into the setting. The value that a database or a role has for it means nothing.
ALTER TABLE analytics.rollup_requests ALTER may_lose SET DEFAULT
    CASE WHEN current_setting('daymill.sweep', true) = pg_current_xact_id_if_assigned()::text THEN 'none' ELSE 'all' END;

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
        EXECUTE format('GRANT SELECT, INSERT, DELETE ON analytics.source_reads TO %s', worker);
    END LOOP;
END
$grant$;
