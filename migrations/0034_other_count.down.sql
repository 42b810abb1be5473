CREATE OR REPLACE FUNCTION analytics.other_count(value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN jsonb_typeof(value) = 'number'
            THEN least(greatest(trunc(value::numeric), -9223372036854775808), 9223372036854775807)::bigint
        ELSE 0
    END
$$;
