-- `daymill migrate --partition-metrics month` makes analytics.daily_entity_metrics a table with a partition for each month. A run asks for
-- the partition of its date before it writes, whatever the month; the daily job asks for the next two months, and so does `daymill
-- migrate`. There is no default partition: ATTACH would lock and read it.
--
-- A new partition is created by itself and then attached, because CREATE TABLE … PARTITION OF would lock the whole table against readers.
-- The function runs with the rights of Daymill's owner, because the role of a worker may not be allowed to create tables.
CREATE FUNCTION analytics.metric_month(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first date := date_trunc('month', day)::date;
    part text := 'daily_entity_metrics_' || to_char(first, 'YYYY_MM');
    is_there boolean;
BEGIN
    FOR i IN 1..2 LOOP
        SELECT EXISTS (
            SELECT FROM pg_inherits AS i
            WHERE i.inhparent = c.oid AND i.inhrelid = to_regclass(format('analytics.%I', part))
        ) INTO is_there
        FROM pg_class AS c
        WHERE c.oid = 'analytics.daily_entity_metrics'::regclass AND c.relkind = 'p';
        IF is_there IS NULL OR is_there THEN
            RETURN false;
        END IF;
        -- Look again under the lock: another run may have made the partition.
        PERFORM pg_advisory_xact_lock(6107330082);
    END LOOP;
    IF to_regclass(format('analytics.%I', part)) IS NOT NULL THEN
        RAISE EXCEPTION 'analytics.% is detached, so no metrics of % can be written: drop it, or attach it again', part, to_char(first, 'YYYY-MM')
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE format('CREATE TABLE analytics.%I (LIKE analytics.daily_entity_metrics INCLUDING DEFAULTS INCLUDING INDEXES) WITH (fillfactor = 90)', part);
    EXECUTE format('ALTER TABLE analytics.daily_entity_metrics ATTACH PARTITION analytics.%I FOR VALUES FROM (%L) TO (%L)',
        part, first, (first + interval '1 month')::date);
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION analytics.metric_month(date) FROM PUBLIC;

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
        EXECUTE format('GRANT EXECUTE ON FUNCTION analytics.metric_month(date) TO %s', worker);
    END LOOP;
END
$grant$;
