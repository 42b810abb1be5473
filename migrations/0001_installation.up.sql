-- What is decided once per database: which type names an entity, in which time zone a date begins, and where River's
-- tables are. The three come in as settings of the migrating transaction (daymill.entity_type, daymill.time_zone,
-- daymill.river_schema), so that this file stays plain SQL that can be read, linted and run by hand.

-- One domain instead of three schemas: every query is written and checked once, against analytics.entity_id, and
-- Postgres sees through a domain without constraints, so comparisons use the native type's operators and indexes.
-- Text collates as "C": its order is the order of its bytes, the same in Go as in every version of libc and ICU.
DO $install$
BEGIN
    EXECUTE format('CREATE DOMAIN analytics.entity_id AS %s', CASE current_setting('daymill.entity_type')
        WHEN 'uuid' THEN 'uuid'
        WHEN 'bigint' THEN 'bigint'
        WHEN 'text' THEN 'text COLLATE "C"'
    END);
END
$install$;

CREATE TABLE analytics.installation (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    entity_type text NOT NULL CHECK (entity_type IN ('uuid', 'bigint', 'text')),
    time_zone text NOT NULL,
    river_schema text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO analytics.installation (entity_type, time_zone, river_schema)
VALUES (
    current_setting('daymill.entity_type'),
    current_setting('daymill.time_zone'),
    current_setting('daymill.river_schema')
);

-- The reporting zone, as a function so that views and other functions need no join. The table has one row. It runs with
-- the rights of Daymill's owner: whoever may read the live view needs no right on the table.
CREATE FUNCTION analytics.time_zone() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT i.time_zone FROM analytics.installation AS i $$;

-- The instant a date begins in the reporting zone. Where the clock skips midnight the date begins when the clock
-- resumes; where midnight comes twice, Postgres takes one of the two. Either way date_start(d + 1) is the end of d, so
-- dates tile the time line without gap or overlap, and a date a zone skipped (Pacific/Apia, 2011-12-30) is empty.
CREATE FUNCTION analytics.date_start(metric_date date) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT metric_date::timestamp AT TIME ZONE analytics.time_zone() $$;

-- The date an instant belongs to. Not simply the local date of the instant: where a clock goes back across midnight
-- (America/St_Johns until 2011) the local date is for some minutes a day ahead of the bounds that date_start draws.
CREATE FUNCTION analytics.date_of(instant timestamptz) RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN instant < analytics.date_start(d.local_date) THEN d.local_date - 1
        WHEN instant >= analytics.date_start(d.local_date + 1) THEN d.local_date + 1
        ELSE d.local_date
    END
    FROM (SELECT (instant AT TIME ZONE analytics.time_zone())::date AS local_date) AS d
$$;

-- How analytics.events was made, for `daymill source show` and for `daymill import`, which writes to the same table.
-- view_definition is what Postgres made of the view: once the view differs from it, somebody has written it by hand.
CREATE TABLE analytics.source (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    table_schema text NOT NULL,
    table_name text NOT NULL,
    entity_column text NOT NULL,
    type_column text NOT NULL,
    time_column text NOT NULL,
    -- The zone that a timestamp without time zone is in; NULL where the column is a timestamptz.
    time_column_zone text,
    type_map jsonb NOT NULL DEFAULT '{}',
    condition text,
    view_definition text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now()
);

-- The contract between an application and Daymill. Until `daymill source set`, `daymill source create` or a
-- CREATE OR REPLACE VIEW by hand gives it a table to read, it reads none and no run begins.
CREATE VIEW analytics.events AS
SELECT
    NULL::analytics.entity_id AS entity_id,
    NULL::text AS event_type,
    NULL::timestamptz AS created_at
WHERE false;
