-- Consumers that fetch changes themselves get sweeps if they ask for them: a poller with the operation sweep in its ops, a function with
-- sweeps in its settings. Others only know operations on rows. A sweep ends the snapshot of a table.

CREATE OR REPLACE FUNCTION capture.next_changes(
    the_consumer capture.consumer, the_shard integer, the_stream capture.stream, after bigint, max_changes integer,
    OUT positions bigint[], OUT upto bigint
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    span bigint;
    from_position bigint := after;
    last_position bigint := least(the_stream.position, after + 100000);
BEGIN
    span := greatest(500, max_changes::bigint * the_consumer.shards / 2);
    upto := after;
    WHILE positions IS NULL AND upto < last_position LOOP
        from_position := upto;
        span := least(span * 2, 20000);
        upto := least(last_position, from_position + span);
        EXECUTE $sql$
            WITH span AS MATERIALIZED (
                SELECT l.position, l.schema_name, l.table_name
                FROM capture.log AS l
                WHERE l.stream_id = $1 AND l.position > $2 AND l.position <= $3
                    AND (l.key_hash IS NULL OR (l.key_hash & 2147483647) % $4 = $5)
                    AND (cardinality($6) = 0 OR l.op = ANY ($6)) AND (l.op <> 'sweep' OR $10)
                    AND (l.consumer IS NULL OR l.consumer = $9)
            ), names AS MATERIALIZED ( -- Else the patterns would be matched with each row.
                SELECT DISTINCT s.schema_name, s.table_name FROM span AS s
            ), wanted AS MATERIALIZED (
                SELECT n.schema_name, n.table_name FROM names AS n WHERE capture.matches($7, n.schema_name, n.table_name)
            ), found AS (
                SELECT s.position FROM span AS s INNER JOIN wanted AS w ON w.schema_name = s.schema_name AND w.table_name = s.table_name
                ORDER BY s.position
                LIMIT $8
            )
            SELECT array_agg(m.position ORDER BY m.position)
            FROM (
                SELECT l.position, sum(length(l.key::text) + coalesce(length(l.old::text), 0) + coalesce(length(l.new::text), 0))
                    OVER (ORDER BY l.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                FROM found AS f INNER JOIN capture.log AS l ON l.stream_id = $1 AND l.position > $2 AND l.position <= $3 AND l.position = f.position
            ) AS m
            WHERE coalesce(m.before, 0) < 8388608
        $sql$ INTO positions
        USING the_stream.id, from_position, upto, the_consumer.shards, the_shard, capture.setting_list(the_consumer.settings, 'ops'),
            capture.setting_list(the_consumer.settings, 'tables'), max_changes, the_consumer.name,
            'sweep' = ANY (capture.setting_list(the_consumer.settings, 'ops')) OR coalesce(the_consumer.settings -> 'sweeps' = 'true', false);
        IF positions IS NOT NULL THEN
            upto := positions[cardinality(positions)];
        END IF;
    END LOOP;
END
$$;

-- tables is a list of patterns, or an object with such a list: {"tables": ["public.orders"], "sweeps": true}.
CREATE OR REPLACE FUNCTION capture.open_function(the_consumer text, the_stream text, tables json, the_shards integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c capture.consumer;
    wanted jsonb := CASE json_typeof(tables)
        WHEN 'object' THEN jsonb_build_object('tables', coalesce(tables -> 'tables', '[]'::json)::jsonb, 'sweeps', coalesce(tables ->> 'sweeps' = 'true', false))
        ELSE jsonb_build_object('tables', coalesce(tables, '[]'::json)::jsonb)
    END;
    wrong text;
BEGIN
    SELECT p.pattern INTO wrong FROM unnest(capture.setting_list(wanted, 'tables')) AS p (pattern) WHERE capture.pattern(p.pattern) IS NULL LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'the pattern of tables "%" cannot be read', wrong
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Write public.orders, public.order_*, or a schema.';
    END IF;
    INSERT INTO capture.consumer (name, stream, kind, settings, shards)
    VALUES (the_consumer, the_stream, 'function', wanted, the_shards) ON CONFLICT (name) DO NOTHING;
    IF FOUND THEN
        INSERT INTO capture.shard (consumer, shard, position)
        SELECT the_consumer, g.n, coalesce((SELECT x.position FROM capture.stream AS x WHERE x.name = the_stream), 0)
        FROM generate_series(0, the_shards - 1) AS g (n);
        RETURN;
    END IF;
    SELECT * INTO c FROM capture.consumer AS x WHERE x.name = the_consumer;
    IF c.kind <> 'function' OR c.stream <> the_stream OR c.shards <> the_shards THEN
        RAISE EXCEPTION 'there is another consumer %: of kind %, of database %, with % shards', the_consumer, c.kind, c.stream, c.shards
        USING ERRCODE = 'duplicate_object', HINT = 'Give the function another name, or remove the consumer with daymill sink remove.';
    END IF;
    UPDATE capture.consumer AS x SET settings = wanted WHERE x.name = the_consumer AND x.settings <> wanted;
END
$$;
