-- `daymill migrate retention` sets how many months of metrics are kept, if they are stored in a partition for each month. The daily job drops
-- the partitions of older months. Nobody can bring them back once their events are gone, so nothing is dropped unless a person has set it.
ALTER TABLE analytics.installation ADD COLUMN metric_months integer CHECK (metric_months BETWEEN 1 AND 1200);

-- The first date whose metrics are kept at an instant: the month of that instant, and as many whole months before it as are set. It runs with
-- the rights of Daymill's owner, as analytics.time_zone() does.
CREATE FUNCTION analytics.metrics_from(at timestamptz) RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN i.metric_months IS NULL THEN date '-infinity'
        ELSE (date_trunc('month', analytics.date_of(at)::timestamp) - make_interval(months => i.metric_months))::date
    END
    FROM analytics.installation AS i
$$;

-- The partitions of the metrics: the first date of each, and the first date after it. Without partitions, none.
CREATE FUNCTION analytics.metric_months(OUT part text, OUT first_date date, OUT next_date date) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
AS $$
    SELECT
        format('%I.%I', n.nspname, c.relname),
        substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''([^'']+)''\)')::date,
        substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)')::date
    FROM pg_inherits AS i
    INNER JOIN pg_class AS c ON c.oid = i.inhrelid
    INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE i.inhparent = 'analytics.daily_entity_metrics'::regclass AND NOT i.inhdetachpending
$$;

-- Drops a partition of the metrics if all of its dates are older than the metrics are kept; reports whether it did. It looks itself, so that
-- whoever may call it can drop nothing else. It runs with the rights of Daymill's owner, because the role of a worker may not own the table.
CREATE FUNCTION analytics.drop_metric_month(the_part text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM analytics.metric_months() AS m
        WHERE m.part = the_part AND m.next_date <= analytics.metrics_from(now())
    ) THEN
        RETURN false;
    END IF;
    EXECUTE 'DROP TABLE ' || the_part;
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION analytics.drop_metric_month(text), analytics.metric_months() FROM PUBLIC;

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
        EXECUTE format('GRANT EXECUTE ON FUNCTION analytics.drop_metric_month(text), analytics.metric_months() TO %s', worker);
    END LOOP;
END
$grant$;
