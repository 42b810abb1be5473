-- Earlier versions know one table of metrics only, and nobody would create the next month's partition for them. So metrics in partitions become one
-- table again, with the same rows, columns, indexes, owner and rights.
DO $revert$
DECLARE
    live text := pg_get_viewdef('analytics.daily_entity_metrics_live'::regclass);
    was oid := 'analytics.daily_entity_metrics'::regclass;
    one record;
BEGIN
    IF (SELECT c.relkind FROM pg_class AS c WHERE c.oid = was) <> 'p' THEN
        RETURN;
    END IF;
    ALTER TABLE analytics.daily_entity_metrics RENAME TO daily_entity_metrics_parted;
    CREATE TABLE analytics.daily_entity_metrics (LIKE analytics.daily_entity_metrics_parted INCLUDING DEFAULTS) WITH (fillfactor = 90);
    INSERT INTO analytics.daily_entity_metrics SELECT * FROM analytics.daily_entity_metrics_parted ORDER BY metric_date, entity_id;
    EXECUTE format('ALTER TABLE analytics.daily_entity_metrics OWNER TO %I', (SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c WHERE c.oid = was));
    FOR one IN
        SELECT
            g.privilege_type || coalesce(' (' || quote_ident(a.attname) || ')', '') AS privilege,
            CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END AS grantee,
            CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option
        FROM (
            SELECT c.relacl AS acl, NULL::name AS attname FROM pg_class AS c WHERE c.oid = was
            UNION ALL
            SELECT a.attacl, a.attname FROM pg_attribute AS a WHERE a.attrelid = was AND a.attnum > 0
        ) AS a
        CROSS JOIN LATERAL aclexplode(a.acl) AS g
    LOOP
        EXECUTE format('GRANT %s ON analytics.daily_entity_metrics TO %s%s', one.privilege, one.grantee, one.option);
    END LOOP;
    EXECUTE 'CREATE OR REPLACE VIEW analytics.daily_entity_metrics_live AS ' || live;
    DROP TABLE analytics.daily_entity_metrics_parted;
    ALTER TABLE analytics.daily_entity_metrics ADD CONSTRAINT daily_entity_metrics_pkey PRIMARY KEY (metric_date, entity_id);
    CREATE INDEX daily_entity_metrics_entity ON analytics.daily_entity_metrics (entity_id, metric_date);
END
$revert$;

DROP FUNCTION analytics.metric_month(date);
