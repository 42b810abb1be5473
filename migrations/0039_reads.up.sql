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

-- Roles that work or look, and do not own the schema, go on doing so.
DO $grant$
DECLARE
    reader text;
    worker text;
BEGIN
    FOR reader IN
        SELECT DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END
        FROM pg_catalog.pg_class AS c
        CROSS JOIN LATERAL aclexplode(c.relacl) AS g
        WHERE c.oid = 'analytics.source'::regclass AND g.privilege_type = 'SELECT' AND g.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT SELECT ON analytics.source_reads TO %s', reader);
    END LOOP;
    FOR worker IN
        SELECT DISTINCT quote_ident(pg_get_userbyid(g.grantee))
        FROM pg_catalog.pg_class AS c
        CROSS JOIN LATERAL aclexplode(c.relacl) AS g
        WHERE c.oid = 'analytics.rollup_dates'::regclass AND g.privilege_type = 'UPDATE' AND g.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON analytics.source_reads TO %s', worker);
    END LOOP;
END
$grant$;
