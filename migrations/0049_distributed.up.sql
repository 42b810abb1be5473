-- Whether a date has metrics. It is a function because Citus refuses a statement that changes the ledger, calls now(), and also reads distributed
-- metrics. A statement within a function is a statement of its own.
CREATE FUNCTION analytics.has_metrics(the_date date) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS(SELECT 1 FROM analytics.daily_entity_metrics AS m WHERE m.metric_date = the_date LIMIT 1);
END
$$;

REVOKE ALL ON FUNCTION analytics.has_metrics(date) FROM PUBLIC;

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
        EXECUTE format('GRANT EXECUTE ON FUNCTION analytics.has_metrics(date) TO %s', worker);
    END LOOP;
END
$grant$;
