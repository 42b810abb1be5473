-- name: WatchTree :many
-- A table with all of its partitions or children, and the facts that decide whether triggers on each are possible.
WITH RECURSIVE tree AS (
    SELECT cast(sqlc.arg('relation_id')::bigint AS oid) AS id
    UNION
    SELECT i.inhrelid
    FROM tree AS t
    INNER JOIN pg_catalog.pg_inherits AS i ON i.inhparent = t.id
)

SELECT
    c.oid::bigint AS id,
    c.relkind::text AS kind,
    format('%I.%I', n.nspname, c.relname)::text AS quoted,
    (has_table_privilege(c.oid, 'TRIGGER'))::boolean AS permitted,
    quote_ident(pg_get_userbyid(c.relowner))::text AS owner_quoted,
    coalesce((
        SELECT a.attnum FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attname = @time_column::text AND NOT a.attisdropped
    ), 0)::integer AS time_number,
    coalesce((
        SELECT p.proname FROM pg_catalog.pg_trigger AS g
        INNER JOIN pg_catalog.pg_proc AS p ON p.oid = g.tgfoid
        WHERE g.tgrelid = c.oid AND g.tgname = 'daymill_watch_insert' AND p.pronamespace = 'analytics'::regnamespace
    ), '')::text AS function_name
FROM tree AS t
INNER JOIN pg_catalog.pg_class AS c ON c.oid = t.id
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY c.oid = cast(sqlc.arg('relation_id')::bigint AS oid) DESC, n.nspname, c.relname;

-- name: WatchParent :one
-- The parent of a partition or child table; empty if it is neither.
SELECT coalesce((
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_inherits AS i
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = i.inhparent
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE i.inhrelid = cast(sqlc.arg('relation_id')::bigint AS oid)
    ORDER BY i.inhseqno
    LIMIT 1
), '')::text AS parent;

-- name: WatchFunctions :many
-- The functions of all watches, and the number of tables with each: 0 for one that is left over from a dropped table.
SELECT
    p.proname::text AS name,
    (SELECT count(DISTINCT g.tgrelid) FROM pg_catalog.pg_trigger AS g WHERE g.tgfoid = p.oid) AS tables
FROM pg_catalog.pg_proc AS p
WHERE p.pronamespace = 'analytics'::regnamespace AND p.proname ~ '^watch_[0-9]+$'
    AND p.prorettype = 'trigger'::regtype
ORDER BY length(p.proname), p.proname;

-- name: WatchRole :one
-- Whether this role may create functions in the schema that run as the owner of the ledger.
SELECT
    quote_ident(current_user)::text AS role_quoted,
    quote_ident(pg_get_userbyid(c.relowner))::text AS owner_quoted,
    (pg_has_role(c.relowner, 'USAGE'))::boolean AS owns,
    (has_schema_privilege('analytics', 'CREATE'))::boolean AS may_create
FROM pg_catalog.pg_class AS c
WHERE c.oid = to_regclass('analytics.rollup_requests');

-- name: WatchList :many
-- Every watched table at the top of its tree: the number of tables in the tree, and which of them lack a trigger or have a disabled one.
WITH RECURSIVE watched AS (
    SELECT
        g.tgrelid AS id,
        g.tgfoid AS function_id,
        count(*) FILTER (WHERE g.tgenabled IN ('O', 'A')) AS triggers,
        min(encode(g.tgargs, 'escape')) AS arguments
    FROM pg_catalog.pg_trigger AS g
    INNER JOIN pg_catalog.pg_proc AS p ON p.oid = g.tgfoid
    WHERE p.pronamespace = to_regnamespace('analytics')::oid AND p.proname ~ '^watch_[0-9]+$'
    GROUP BY g.tgrelid, g.tgfoid
),

roots AS (
    SELECT w.id, w.function_id, w.arguments FROM watched AS w
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_inherits AS i
        INNER JOIN watched AS x ON x.id = i.inhparent
        WHERE i.inhrelid = w.id
    )
),

tree AS (
    SELECT r.id AS root_id, r.id AS member_id FROM roots AS r
    UNION
    SELECT t.root_id, i.inhrelid
    FROM tree AS t
    INNER JOIN pg_catalog.pg_inherits AS i ON i.inhparent = t.member_id
),

members AS (
    SELECT
        t.root_id,
        count(*) AS members,
        coalesce(array_agg(format('%I.%I', n.nspname, c.relname)::text ORDER BY c.relname)
        FILTER (WHERE coalesce(w.triggers, 0) < 4), '{}')::text [] AS unwatched
    FROM tree AS t
    INNER JOIN pg_catalog.pg_class AS c ON c.oid = t.member_id
    INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN watched AS w ON w.id = t.member_id
    GROUP BY t.root_id
)

SELECT
    format('%I.%I', n.nspname, c.relname)::text AS quoted,
    convert_from(decode(split_part(r.arguments, '\000', 1), 'escape'), getdatabaseencoding())::text AS time_column,
    split_part(r.arguments, '\000', 2)::integer AS time_number,
    split_part(r.arguments, '\000', 3)::text AS time_column_zone,
    coalesce(a.attname, '')::text AS time_column_now,
    m.members::bigint AS tables,
    m.unwatched::text [] AS unwatched,
    (
        format('%I.%I', n.nspname, c.relname) = any(m.unwatched)
        OR coalesce(l.body_hash <> md5(p.prosrc), false)
        OR NOT p.prosecdef OR p.proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp"}'
    )::boolean AS function_changed
FROM roots AS r
INNER JOIN pg_catalog.pg_proc AS p ON p.oid = r.function_id
LEFT JOIN analytics.watches AS l ON l.function_name = p.proname
INNER JOIN members AS m ON m.root_id = r.id
INNER JOIN pg_catalog.pg_class AS c ON c.oid = r.id
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = r.id AND NOT a.attisdropped AND a.attnum = split_part(r.arguments, '\000', 2)::smallint
ORDER BY n.nspname, c.relname;

-- name: WatchViewVersion :one
-- The transaction that wrote the current analytics.events.
SELECT coalesce((
    SELECT v.xmin::text FROM pg_catalog.pg_rewrite AS v WHERE v.ev_class = to_regclass('analytics.events') LIMIT 1
), '0')::text AS version;

-- name: WatchLost :many
-- Existing tables that were watched, and have no trigger of a watch.
SELECT
    format('%I.%I', l.table_schema, l.table_name)::text AS quoted,
    l.time_column,
    l.time_column_zone
FROM analytics.watches AS l
INNER JOIN pg_catalog.pg_namespace AS n ON n.nspname = l.table_schema
INNER JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = l.table_name
WHERE
    NOT EXISTS (
        SELECT FROM pg_catalog.pg_trigger AS g
        INNER JOIN pg_catalog.pg_proc AS p ON p.oid = g.tgfoid
        WHERE g.tgrelid = c.oid
            AND p.pronamespace = to_regnamespace('analytics')::oid AND p.proname ~ '^watch_[0-9]+$'
    )
ORDER BY l.table_schema, l.table_name;

-- name: WatchRecord :exec
-- Records a watch, and deletes the table's faults. Until then, doctor reports the dates that they could not request.
WITH over AS (
    DELETE FROM analytics.watch_faults AS f
    WHERE f.first_at IS NULL AND f.table_name = format('%I.%I', @table_schema::text, @table_name::text)
)

INSERT INTO analytics.watches AS l
(table_schema, table_name, table_id, time_column, time_column_zone, function_name, body_hash, template_hash)
VALUES (
    @table_schema, @table_name, cast(sqlc.arg('table_id')::bigint AS oid), @time_column, @time_column_zone, @function_name,
    @body_hash, @template_hash
)
ON CONFLICT (table_schema, table_name) DO UPDATE
    SET
        table_id = excluded.table_id,
        time_column = excluded.time_column,
        time_column_zone = excluded.time_column_zone,
        function_name = excluded.function_name,
        body_hash = excluded.body_hash,
        template_hash = excluded.template_hash,
        set_at = now();

-- name: WatchForget :exec
DELETE FROM analytics.watches AS l
WHERE @every_table::boolean OR (l.table_schema = @table_schema::text AND l.table_name = @table_name::text);

-- name: WatchRecorded :many
-- The record of each watch whose table exists, and whether another version of daymill has created its function.
SELECT
    format('%I.%I', l.table_schema, l.table_name)::text AS quoted,
    l.table_schema,
    l.table_name,
    l.time_column,
    l.time_column_zone,
    (l.template_hash <> @template_hash::text)::boolean AS outdated
FROM analytics.watches AS l
INNER JOIN pg_catalog.pg_namespace AS n ON n.nspname = l.table_schema
INNER JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = l.table_name
ORDER BY l.table_schema, l.table_name;

-- name: WatchFaults :many
-- Requests that watches could not make, by table: since when, and the first error.
SELECT
    f.table_name,
    min(f.at)::timestamptz AS since,
    count(*) AS faults,
    (array_agg(f.error ORDER BY f.at))[1]::text AS error,
    (bool_and(f.first_at IS NOT NULL))::boolean AS known
FROM analytics.watch_faults AS f
GROUP BY f.table_name
ORDER BY f.table_name
LIMIT 20;

-- name: WatchSettle :one
-- Makes the requests that watches could not make.
SELECT analytics.settle_faults()::bigint AS settled;

-- name: LateRequest :exec
-- Requests the past dates of some instants, each given as text: of a timestamp in a zone, if there is one.
WITH given AS (
    SELECT CASE WHEN @zone::text = '' THEN a.at::timestamptz ELSE a.at::timestamp AT TIME ZONE @zone::text END AS at
    FROM unnest(@instants::text []) AS a (at)
    WHERE a.at NOT IN ('infinity', '-infinity')
), late AS (
    SELECT array_agg(g.at) AS at
    FROM (
        SELECT min(i.at) AS at FROM given AS i
        WHERE analytics.date_of(i.at) < analytics.date_of(now())
        GROUP BY analytics.date_of(i.at)
    ) AS g
)

SELECT analytics.request_late(cast(l.at AS timestamptz []), cast(l.at AS timestamptz []), analytics.time_zone()) FROM late AS l;

-- name: LateRequestAll :exec
-- Requests every past date that was ever rolled up.
WITH every AS (
    SELECT array_agg(analytics.date_start(d.metric_date)) AS at FROM analytics.rollup_dates AS d WHERE d.metric_date < analytics.date_of(now())
)

SELECT analytics.request_late(cast(e.at AS timestamptz []), cast(e.at AS timestamptz []), analytics.time_zone()) FROM every AS e;
