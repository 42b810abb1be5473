-- A form that is sent twice, or a call whose answer was lost, must not start a second backfill. Who starts one may give it a key: the same key
-- of the same user means the same backfill.
ALTER TABLE analytics.backfills ADD COLUMN request_key text CHECK (octet_length(request_key) BETWEEN 1 AND 200);

CREATE UNIQUE INDEX backfills_request_key ON analytics.backfills (requested_by, request_key) WHERE request_key IS NOT NULL;

-- As in 0005_history, but the last word may be the beginning of a word from its first letter. A search that looks words up in their index asks
-- only for those with three letters or more, because an index lists each word with a beginning.
CREATE OR REPLACE FUNCTION daymill.job_words(typed text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN w.query::text ~ '[^'']''$' THEN (w.query::text || ':*')::tsquery ELSE w.query END
    FROM websearch_to_tsquery('pg_catalog.simple', typed) AS w (query)
$$;
