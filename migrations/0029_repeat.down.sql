CREATE OR REPLACE FUNCTION daymill.job_words(typed text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN w.query::text ~ '[^'']{3}''$' THEN (w.query::text || ':*')::tsquery ELSE w.query END
    FROM websearch_to_tsquery('pg_catalog.simple', typed) AS w (query)
$$;

DROP INDEX analytics.backfills_request_key;
ALTER TABLE analytics.backfills DROP COLUMN request_key;
