-- A request may be about some entities of a date: who asks often knows them, as an import or a trigger does. A run whose
-- requests are all like that counts those entities again, and no others.

ALTER TABLE analytics.rollup_requests ADD COLUMN entities text []
CHECK (cardinality(entities) BETWEEN 1 AND 10000);

-- How many entities a run was about; NULL for all of the date, and 0 where it was asked for some and counted all.
ALTER TABLE analytics.rollup_runs ADD COLUMN scope integer;

-- Asks for some entities of a date to be counted again. Returns how many there are, each counted once. Where they are more than
-- 10,000, it asks for the whole date.
--
-- SELECT analytics.enqueue_entities('2026-03-01', ARRAY['42', '43']);
CREATE FUNCTION analytics.enqueue_entities(metric_date date, entities text [], via text DEFAULT 'sql') RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted text[] := ARRAY(
        SELECT DISTINCT (e.id::analytics.entity_id)::text FROM unnest(entities) AS e (id) WHERE e.id IS NOT NULL
    );
BEGIN
    PERFORM analytics.check_request(metric_date, metric_date);
    PERFORM analytics.check_via(via);
    IF cardinality(wanted) = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO analytics.rollup_requests (metric_date, requested_via, entities)
    VALUES (metric_date, coalesce(via, 'sql'), CASE WHEN cardinality(wanted) <= 10000 THEN wanted END);
    RETURN cardinality(wanted);
END
$$;

-- As request_late with three arguments, for the entities of each element: NULL is all. A transaction that asks often, a few
-- entities at a time, asks for the whole date in the end.
CREATE FUNCTION analytics.request_late(
    first_at timestamptz [], last_at timestamptz [], zone text, scopes jsonb []
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- As there. A date whose entities were asked for leaves an s.
    mine text := pg_current_xact_id()::text || ':,';
    known text := coalesce(current_setting('daymill.late', true), '');
    local_date date;
    starts timestamptz;
    ends timestamptz;
    late date;
    scope text[];
BEGIN
    IF NOT starts_with(known, mine) OR length(known) > 4000 THEN
        known := mine;
    END IF;
    FOR i IN 1..coalesce(cardinality(first_at), 0) LOOP
        scope := CASE
            WHEN jsonb_typeof(scopes[i]) = 'array' AND length(known) - length(replace(known, 's', '')) < 20
                THEN ARRAY(SELECT jsonb_array_elements_text(scopes[i]))
        END;
        local_date := (first_at[i] AT TIME ZONE zone)::date;
        starts := local_date::timestamp AT TIME ZONE zone;
        ends := (local_date + 1)::timestamp AT TIME ZONE zone;
        FOREACH late IN ARRAY array_remove(ARRAY[
            CASE WHEN first_at[i] < starts THEN local_date - 1 END,
            CASE WHEN last_at[i] >= starts AND first_at[i] < ends THEN local_date END,
            CASE WHEN last_at[i] >= ends THEN local_date + 1 END
        ], NULL) LOOP
            IF strpos(known, ',' || (late - '2000-01-01'::date)::text || ',') = 0 THEN
                INSERT INTO analytics.rollup_requests (metric_date, requested_via, entities)
                VALUES (late, 'watch', CASE WHEN cardinality(scope) BETWEEN 1 AND 10000 THEN scope END);
                known := known || CASE
                    WHEN cardinality(scope) BETWEEN 1 AND 10000 THEN 's,' ELSE (late - '2000-01-01'::date)::text || ','
                END;
            END IF;
        END LOOP;
    END LOOP;
    PERFORM set_config('daymill.late', known, true);
END
$$;

REVOKE ALL ON FUNCTION analytics.request_late(timestamptz [], timestamptz [], text, jsonb []) FROM PUBLIC;
