-- name: SourceGet :one
-- The settings that analytics.events was made with; no row if `daymill source set` never made it.
SELECT
    s.table_schema,
    s.table_name,
    s.entity_column,
    s.type_column,
    s.time_column,
    s.time_column_zone,
    s.type_map,
    s.condition,
    s.view_definition,
    s.set_at,
    coalesce(s.table_id::bigint, 0)::bigint AS table_id
FROM analytics.source AS s;

-- name: SourceSet :exec
INSERT INTO analytics.source AS s
(
    table_schema, table_name, entity_column, type_column, time_column, time_column_zone, type_map, condition,
    view_definition, table_id
)
VALUES (
    @table_schema, @table_name, @entity_column, @type_column, @time_column, sqlc.narg('time_column_zone'), @type_map,
    sqlc.narg('condition'), @view_definition, cast(sqlc.arg('table_id')::bigint AS oid)
)
ON CONFLICT (singleton) DO UPDATE
    SET
        table_schema = excluded.table_schema,
        table_name = excluded.table_name,
        entity_column = excluded.entity_column,
        type_column = excluded.type_column,
        time_column = excluded.time_column,
        time_column_zone = excluded.time_column_zone,
        type_map = excluded.type_map,
        condition = excluded.condition,
        view_definition = excluded.view_definition,
        table_id = excluded.table_id,
        set_at = now();

-- name: SourceExists :one
-- Whether analytics.events reads anything: a relation, or a function, which may read a relation that Postgres does not record.
SELECT
    EXISTS(
        SELECT FROM pg_catalog.pg_rewrite AS r
        INNER JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        LEFT JOIN pg_catalog.pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
        WHERE r.ev_class = to_regclass('analytics.events')
            AND (
                d.refclassid = 'pg_proc'::regclass
                OR (c.oid <> r.ev_class AND c.relkind IN ('r', 'p', 'v', 'm', 'f'))
            )
    )::boolean;

-- name: SourceDefinition :one
-- Postgres's definition of a view; empty if there is none. Names are qualified if the search path lacks their schema.
SELECT coalesce(pg_get_viewdef(to_regclass(@view_name::text)::oid), '')::text;

-- name: SourceParseName :one
-- The parts of a name as SQL reads them: folded to lower case unless quoted, and truncated to 63 bytes.
SELECT parse_ident(@name::text)::name []::text [];

-- name: SourceLiterals :many
-- Values as SQL literals.
SELECT quote_literal(v.value)::text FROM unnest(@literals::text []) WITH ORDINALITY AS v (value, place) ORDER BY v.place;

-- name: SourceMissing :one
-- Whether the view is missing: it exists since the installation, even if it reads nothing.
SELECT (to_regclass('analytics.events') IS NULL)::boolean AS missing;

-- name: SourceRelation :one
-- A relation by its exact name. Rows are the planner's estimate, or a guess from the size if there is none yet.
SELECT
    c.oid::bigint AS id,
    c.relkind::text AS kind,
    format('%I.%I', n.nspname, c.relname)::text AS quoted,
    quote_ident(n.nspname)::text AS schema_quoted,
    quote_ident(current_user)::text AS role_quoted,
    (has_schema_privilege(n.oid, 'USAGE'))::boolean AS schema_usable,
    (c.reltuples >= 0)::boolean AS analyzed,
    (CASE
        WHEN c.reltuples >= 0 THEN c.reltuples
        WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) / 8192 * 100
        ELSE 0
    END)::bigint AS row_estimate,
    coalesce(pg_partition_root(c.oid), c.oid)::oid::bigint AS root_id,
    (SELECT format('%I.%I', rn.nspname, r.relname)
    FROM pg_catalog.pg_class AS r
    INNER JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
    WHERE r.oid = coalesce(pg_partition_root(c.oid), c.oid))::text AS root_quoted
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = @table_schema::text AND c.relname = @table_name::text;

-- name: SourceColumns :many
-- The columns of a relation. The base type is the type itself, or the type below a domain.
SELECT
    a.attname::text AS name,
    a.attnum::integer AS number,
    quote_ident(a.attname)::text AS quoted,
    format_type(a.atttypid, a.atttypmod)::text AS type,
    t.oid::bigint AS type_id,
    coalesce(b.oid, t.oid)::bigint AS base_id,
    coalesce(b.typname, t.typname)::text AS base_name,
    coalesce(b.typtype, t.typtype)::text AS base_kind,
    coalesce(b.typcategory, t.typcategory)::text AS base_category,
    (a.attnotnull OR t.typnotnull)::boolean AS required,
    (a.attcollation NOT IN (0, 'pg_catalog."default"'::regcollation))::boolean AS collated,
    coalesce((SELECT NOT l.collisdeterministic FROM pg_catalog.pg_collation AS l WHERE l.oid = a.attcollation), false)::boolean AS loose
FROM pg_catalog.pg_attribute AS a
INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type AS b ON b.oid = t.typbasetype
WHERE a.attrelid = CAST(@relation_id::bigint AS oid) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;

-- name: SourceReads :many
-- The relations that analytics.events reads, through views too, with the role whose rights Postgres checks for each:
-- the owner of the view that reads it, or the current user if that view is a security_invoker.
WITH RECURSIVE views AS (
    SELECT to_regclass('analytics.events')::oid AS view_id
    UNION
    SELECT d.refobjid
    FROM views AS v
    INNER JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = v.view_id
    INNER JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid AND c.relkind = 'v'
),

reads AS (
    SELECT DISTINCT
        d.refobjid AS relation_id,
        CASE
            WHEN array_to_string(w.reloptions, ' ') ~* 'security_invoker=(true|on|yes|1)'
                THEN (SELECT u.oid FROM pg_catalog.pg_roles AS u WHERE u.rolname = current_user)
            ELSE w.relowner
        END AS role_id
    FROM views AS v
    INNER JOIN pg_catalog.pg_class AS w ON w.oid = v.view_id
    INNER JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = v.view_id
    INNER JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    WHERE d.refobjid <> v.view_id
)

SELECT
    c.oid::bigint AS relation_id,
    format('%I.%I', n.nspname, c.relname)::text AS quoted,
    c.relkind::text AS kind,
    quote_ident(o.rolname)::text AS role_quoted,
    (
        has_table_privilege(o.oid, c.oid, 'SELECT') OR has_any_column_privilege(o.oid, c.oid, 'SELECT')
    )::boolean AS readable,
    (
        c.relrowsecurity AND NOT o.rolbypassrls AND NOT o.rolsuper
        AND (c.relforcerowsecurity OR NOT pg_has_role(o.oid, c.relowner, 'USAGE'))
    )::boolean AS row_security
FROM reads AS d
INNER JOIN pg_catalog.pg_class AS c ON c.oid = d.relation_id AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
INNER JOIN pg_catalog.pg_roles AS o ON o.oid = d.role_id
ORDER BY n.nspname, c.relname, o.rolname;

-- name: SourceIndexes :many
-- The indexes of a relation with their keys, as expressions.
SELECT
    format('%I.%I', n.nspname, i.relname)::text AS quoted,
    i.relname::text AS name,
    m.amname::text AS method,
    x.indisvalid AS valid,
    (x.indpred IS NOT NULL)::boolean AS partial,
    ARRAY(
        SELECT pg_get_indexdef(x.indexrelid, k.place, false)
        FROM generate_series(1, x.indnkeyatts::integer) AS k (place)
        ORDER BY k.place
    )::text [] AS keys
FROM pg_catalog.pg_index AS x
INNER JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = i.relnamespace
INNER JOIN pg_catalog.pg_am AS m ON m.oid = i.relam
WHERE x.indrelid = CAST(@relation_id::bigint AS oid)
ORDER BY i.relname;

-- name: SourceRole :one
-- The current role, the owner of analytics.events, and whether the current role may read it.
SELECT
    quote_ident(current_user)::text AS role_quoted,
    quote_ident(pg_get_userbyid(c.relowner))::text AS owner_quoted,
    (pg_has_role(c.relowner, 'USAGE'))::boolean AS owns,
    (has_table_privilege(c.oid, 'SELECT'))::boolean AS readable
FROM pg_catalog.pg_class AS c
WHERE c.oid = to_regclass('analytics.events');

-- name: SourceSlice :one
-- An hour in the middle of yesterday, as a slice reads it.
SELECT
    (analytics.date_start(analytics.date_of(now()) - 1) + interval '12 hours')::text AS from_instant,
    (analytics.date_start(analytics.date_of(now()) - 1) + interval '13 hours')::text AS to_instant;

-- name: SourceInterrupt :many
-- Ends the running runs, which have read another source, and requests their dates again. What they have published no longer belongs to a run. A
-- run that begins later reads the new source, because the view is locked until then.
WITH broken AS (
    UPDATE analytics.rollup_dates
    SET
        state = CASE state WHEN 'running' THEN 'interrupted' ELSE state END,
        cursor = NULL,
        cursor_events = 0,
        cursor_entities = 0
    WHERE state = 'running' OR cursor IS NOT NULL
    RETURNING metric_date, run_id, state
),

ended AS (
    UPDATE analytics.rollup_runs AS r
    SET state = 'interrupted', finished_at = clock_timestamp(), error = 'the source was changed while it was at work'
    FROM broken AS b
    WHERE r.id = b.run_id AND r.state = 'running'
)

INSERT INTO analytics.rollup_requests (metric_date, requested_via)
SELECT
    b.metric_date,
    'cli'
FROM broken AS b
WHERE b.state = 'interrupted'
RETURNING metric_date;

-- name: SourceSwapped :one
-- If analytics.events still reads the table that the source was set to, but another table has its name now: the current name of the former.
-- Empty otherwise, such as for a view that was written by hand since.
SELECT coalesce((
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM analytics.source AS s
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = s.table_id
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    INNER JOIN pg_catalog.pg_namespace AS m ON m.nspname = s.table_schema
    INNER JOIN pg_catalog.pg_class AS k ON k.relnamespace = m.oid AND k.relname = s.table_name
    WHERE c.oid <> k.oid AND EXISTS (
        SELECT FROM pg_catalog.pg_rewrite AS r
        INNER JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        WHERE r.ev_class = to_regclass('analytics.events') AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
    )
), '')::text AS reads;

-- name: SourceColumnsSwapped :one
-- Which of the source's columns exist, but are not read by analytics.events; and which other columns of the table it reads.
SELECT
    coalesce(array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE o.recorded AND NOT o.read), '{}')::text [] AS unread,
    coalesce(array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE o.read AND NOT o.recorded), '{}')::text [] AS others
FROM analytics.source AS s
INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = s.table_id AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    SELECT
        a.attname IN (s.entity_column, s.type_column, s.time_column) AS recorded,
        EXISTS (
            SELECT FROM pg_catalog.pg_rewrite AS r
            INNER JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
            WHERE r.ev_class = to_regclass('analytics.events') AND d.refclassid = 'pg_class'::regclass
                AND d.refobjid = s.table_id AND d.refobjsubid = a.attnum
        ) AS read
) AS o;

-- name: SourceRenumber :exec
-- Records the OID of the table that the source was set to, if the recorded one is not an OID of a table that the view reads, because a
-- restore gives tables other OIDs.
UPDATE analytics.source AS s
SET table_id = k.oid
FROM pg_catalog.pg_class AS k
INNER JOIN pg_catalog.pg_namespace AS m ON m.oid = k.relnamespace
INNER JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = k.oid
INNER JOIN pg_catalog.pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
WHERE m.nspname = s.table_schema AND k.relname = s.table_name AND r.ev_class = to_regclass('analytics.events')
    AND s.table_id IS DISTINCT FROM k.oid
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend AS o
        WHERE o.classid = 'pg_rewrite'::regclass AND o.objid = r.oid AND o.refclassid = 'pg_class'::regclass
            AND o.refobjid = s.table_id
    );

-- name: SourceReadsNow :one
-- The relations that analytics.events reads, through views too, and a text that differs after one of the views was created or replaced.
WITH RECURSIVE views AS (
    SELECT to_regclass('analytics.events')::oid AS view_id
    UNION
    SELECT d.refobjid
    FROM views AS v
    INNER JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = v.view_id
    INNER JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid AND c.relkind = 'v'
)

SELECT
    coalesce(array_agg(DISTINCT d.refobjid::bigint) FILTER (WHERE d.refobjid <> v.view_id), '{}')::bigint [] AS relation_ids,
    coalesce(string_agg(DISTINCT r.oid || ':' || r.xmin, ' '), '')::text AS written
FROM views AS v
INNER JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = v.view_id
INNER JOIN pg_catalog.pg_depend AS d
    ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass;

-- name: SourceReadsRecord :exec
-- Replaces the record, unless no view was created or replaced since.
WITH stale AS (
    SELECT FROM analytics.source_reads AS s
    HAVING count(*) <> cardinality(@relation_ids::bigint []) OR count(*) FILTER (WHERE s.written <> @written::text) > 0
),

gone AS (
    DELETE FROM analytics.source_reads AS s USING stale WHERE s.relation_id <> ALL (@relation_ids::bigint [])
)

INSERT INTO analytics.source_reads (relation_id, relation_schema, relation_name, written)
SELECT c.oid, n.nspname, c.relname, @written::text
FROM stale
INNER JOIN pg_catalog.pg_class AS c ON c.oid::bigint = ANY (@relation_ids::bigint [])
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ON CONFLICT (relation_id) DO UPDATE
SET relation_schema = excluded.relation_schema, relation_name = excluded.relation_name, written = excluded.written;

-- name: SourceReadsSwapped :many
-- Relations that analytics.events reads, whose recorded name now means a different relation.
SELECT
    format('%I.%I', n.nspname, c.relname)::text AS reads,
    format('%I.%I', s.relation_schema, s.relation_name)::text AS recorded
FROM analytics.source_reads AS s
INNER JOIN pg_catalog.pg_class AS c ON c.oid = s.relation_id
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
INNER JOIN pg_catalog.pg_namespace AS m ON m.nspname = s.relation_schema
INNER JOIN pg_catalog.pg_class AS k ON k.relnamespace = m.oid AND k.relname = s.relation_name AND k.oid <> c.oid
WHERE s.written = @written::text
ORDER BY reads
LIMIT 10;
