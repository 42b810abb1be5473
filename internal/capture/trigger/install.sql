-- Objects that trigger mode needs in the database that it reads. There are two queues: triggers write to the one that "control" names as
-- active. TRUNCATE empties the resting one once all of its rows have landed.
CREATE SCHEMA IF NOT EXISTS daymill_capture;
REVOKE ALL ON SCHEMA daymill_capture FROM PUBLIC;

CREATE SEQUENCE IF NOT EXISTS daymill_capture.seq CACHE 1;
-- Counts changes that could not be written to a queue. It is a sequence because a rollback does not undo nextval.
CREATE SEQUENCE IF NOT EXISTS daymill_capture.failures CACHE 1;

CREATE TABLE IF NOT EXISTS daymill_capture.queue_0 (
    xid xid8 NOT NULL,
    seq bigint NOT NULL,
    root oid NOT NULL,
    op "char" NOT NULL,
    key_changed boolean NOT NULL,
    at timestamptz NOT NULL,
    key json,
    old jsonb,
    new jsonb
);
CREATE INDEX IF NOT EXISTS queue_0_read ON daymill_capture.queue_0 (xid, seq);
CREATE TABLE IF NOT EXISTS daymill_capture.queue_1 (LIKE daymill_capture.queue_0);
CREATE INDEX IF NOT EXISTS queue_1_read ON daymill_capture.queue_1 (xid, seq);

CREATE TABLE IF NOT EXISTS daymill_capture.control (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    active integer NOT NULL DEFAULT 0 CHECK (active IN (0, 1)),
    rotated_at timestamptz NOT NULL DEFAULT now(),
    -- The queues' files that Daymill knows. If a queue has another file, somebody else has emptied or rewritten it.
    file_0 oid NOT NULL,
    file_1 oid NOT NULL
);
INSERT INTO daymill_capture.control (file_0, file_1)
SELECT pg_catalog.pg_relation_filenode('daymill_capture.queue_0'), pg_catalog.pg_relation_filenode('daymill_capture.queue_1')
ON CONFLICT DO NOTHING;

-- to_jsonb calls the cast to json of a type that has one, with the rights of its caller, who is the owner of these functions. The owner of
-- a type can create such a cast at any time. So to_jsonb only writes values of types that are built in, a superuser's, or our own. Values
-- of other types are written as Postgres's text.
CREATE OR REPLACE FUNCTION daymill_capture.trusted(the_type oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT the_type < 16384 OR EXISTS (
        SELECT FROM pg_type AS t INNER JOIN pg_roles AS r ON r.oid = t.typowner WHERE t.oid = the_type AND (r.rolsuper OR r.rolname = current_user)
    )
$$;

-- plain reports whether to_jsonb is allowed to write all columns of a table.
CREATE OR REPLACE FUNCTION daymill_capture.plain(the_table oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE used (oid) AS (
        SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = the_table AND a.attnum > 0 AND NOT a.attisdropped
        UNION
        SELECT p.oid FROM used AS u INNER JOIN pg_type AS t ON t.oid = u.oid
        CROSS JOIN LATERAL (
            SELECT t.typelem UNION ALL SELECT t.typbasetype
            UNION ALL SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS p (oid)
        WHERE u.oid >= 16384
    )
    SELECT NOT EXISTS (SELECT FROM used AS u WHERE u.oid >= 16384 AND NOT daymill_capture.trusted(u.oid))
$$;

-- expression returns the SQL that writes a value of a type as JSON.
CREATE OR REPLACE FUNCTION daymill_capture.expression(the_type oid, the_value text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t pg_type;
    element pg_type;
    fields text;
BEGIN
    SELECT * INTO t FROM pg_type AS x WHERE x.oid = the_type;
    WHILE t.typtype = 'd' LOOP
        SELECT * INTO t FROM pg_type AS x WHERE x.oid = t.typbasetype;
    END LOOP;
    IF t.oid < 16384 THEN
        RETURN format('coalesce(to_jsonb(%s), ''null'')', the_value);
    ELSIF t.typtype = 'c' THEN
        SELECT string_agg(format('jsonb_build_object(%L, %s)', a.attname, daymill_capture.expression(a.atttypid, format('(%s).%I', the_value, a.attname))), ' || ')
        INTO fields FROM pg_attribute AS a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped;
        RETURN format('CASE WHEN %s IS NOT DISTINCT FROM NULL THEN ''null'' ELSE %s END', the_value, coalesce(fields, '''{}''::jsonb'));
    ELSIF t.typcategory = 'A' AND t.typelem <> 0 THEN
        SELECT * INTO element FROM pg_type AS x WHERE x.oid = t.typelem;
        WHILE element.typtype = 'd' LOOP
            SELECT * INTO element FROM pg_type AS x WHERE x.oid = element.typbasetype;
        END LOOP;
        IF element.oid < 16384 THEN
            RETURN format('coalesce(to_jsonb(%s), ''null'')', the_value);
        ELSIF element.typtype = 'c' OR element.typcategory = 'A' THEN
            RETURN format('CASE WHEN %1$s IS NULL THEN ''null'' WHEN array_ndims(%1$s) > 1 THEN to_jsonb(format(''%%s'', %1$s)::text[]) '
                'ELSE coalesce((SELECT jsonb_agg(%2$s ORDER BY i) FROM generate_subscripts(%1$s, 1) AS i), ''[]'') END',
                the_value, daymill_capture.expression(t.typelem, format('(%s)[i]', the_value)));
        END IF;
        RETURN format('CASE WHEN %1$s IS NULL THEN ''null'' ELSE to_jsonb(format(''%%s'', %1$s)::text[]) END', the_value);
    ELSIF daymill_capture.trusted(t.oid) THEN
        RETURN format('coalesce(to_jsonb(%s), ''null'')', the_value);
    END IF;
    RETURN format('CASE WHEN %1$s IS NULL THEN ''null'' ELSE to_jsonb(format(''%%s'', %1$s)) END', the_value);
END
$$;

-- object returns the SQL that writes a row, without some columns.
CREATE OR REPLACE FUNCTION daymill_capture.object(the_table oid, the_row text, without text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(string_agg(format('jsonb_build_object(%L, %s)', a.attname, daymill_capture.expression(a.atttypid, format('%s.%I', the_row, a.attname))),
        ' || ' ORDER BY a.attnum), '''{}''::jsonb')
    FROM pg_attribute AS a
    WHERE a.attrelid = the_table AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (without)
$$;

-- key returns the SQL that writes a row's key. documents has the names as JSON. The result is json because jsonb would lose the order.
CREATE OR REPLACE FUNCTION daymill_capture.key(the_table oid, the_row text, names text [], documents text []) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce('(''{'' || ' || string_agg(format('%L || (%s)::text', k.document || ': ',
        daymill_capture.expression(a.atttypid, format('%s.%I', the_row, a.attname))), ' || '', '' || ' ORDER BY k.place) || ' || ''}'')::json', 'NULL::json')
    FROM unnest(names, documents) WITH ORDINALITY AS k (name, document, place)
    INNER JOIN pg_attribute AS a ON a.attrelid = the_table AND a.attname = k.name AND NOT a.attisdropped
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA daymill_capture FROM PUBLIC;
