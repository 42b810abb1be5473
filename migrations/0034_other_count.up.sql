-- The function had a search_path, so Postgres called it for each count instead of putting its expression into the query, which took several
-- times as long. It resolves no name by the search_path now, whoever calls it.
CREATE OR REPLACE FUNCTION analytics.other_count(value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN pg_catalog.jsonb_typeof(value) OPERATOR(pg_catalog.=) 'number'
            THEN least(
                greatest(pg_catalog.trunc(value::pg_catalog.numeric), '-9223372036854775808'::pg_catalog.numeric),
                '9223372036854775807'::pg_catalog.numeric
            )::pg_catalog.int8
        ELSE 0
    END
$$;
