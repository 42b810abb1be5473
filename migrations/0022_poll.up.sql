-- Consumers that fetch changes themselves: those that poll, in SQL or over HTTP, and Go functions of applications (jobs.OnChange).
-- Both call the functions below, which run with the rights of Daymill's owner and are nobody else's until they are granted:
--
--     GRANT USAGE ON SCHEMA capture TO reader;
--     GRANT EXECUTE ON FUNCTION capture.poll, capture.ack TO reader;
--
-- Such a role reads the changes of every consumer of kind poll, whatever rights it has on the tables, and nothing else.

-- Who has polled a shard, until when nobody else gets its changes, and up to which position it was given. An acknowledgement
-- counts as long as the fence is that of the poll: a rewind, a pause and another poller move it.
ALTER TABLE capture.shard
ADD COLUMN poller text,
ADD COLUMN polled_until timestamptz,
ADD COLUMN polled bigint NOT NULL DEFAULT 0,
ADD COLUMN polled_fence bigint NOT NULL DEFAULT 0;

-- Up to which schema version a consumer takes a table's changes, and the version that it was paused for. Resuming accepts it.
CREATE TABLE capture.accepted (
    consumer text NOT NULL REFERENCES capture.consumer ON DELETE CASCADE,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    version integer NOT NULL,
    paused_for integer,
    PRIMARY KEY (consumer, schema_name, table_name)
);

-- The parts of a pattern of tables: "!" or nothing, the schema, and the table or NULL. NULL where it is no pattern.
CREATE FUNCTION capture.pattern(pattern text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT regexp_match(btrim(pattern, E' \t\r\n'), '^(!|(?!!))("(?:[^"]|"")+"|[^".''\s;]+)(?:\.("(?:[^"]|"")+"|[^".''\s;]+))?$') $$;

-- Whether a name is one that a part of a pattern means: the same where the part is quoted, else with * for any characters.
CREATE FUNCTION capture.matches_part(part text, name text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN part IS NULL THEN true
        WHEN left(part, 1) = '"' THEN name = replace(substr(part, 2, length(part) - 2), '""', '"')
        ELSE name ~ ('^' || replace(regexp_replace(part, '([^[:alnum:]_*])', '\\\1', 'g'), '*', '.*') || '$')
    END
$$;

-- Whether patterns mean a table: one of them does, and none with a "!". No patterns mean every table.
CREATE FUNCTION capture.matches(patterns text[], the_schema text, the_table text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT NOT coalesce(bool_or(m.hit) FILTER (WHERE m.negative), false) AND coalesce(bool_or(m.hit) FILTER (WHERE NOT m.negative), true)
    FROM (
        SELECT p.parts[1] = '!' AS negative, capture.matches_part(p.parts[2], the_schema) AND capture.matches_part(p.parts[3], the_table) AS hit
        FROM unnest(patterns) AS u (pattern) CROSS JOIN LATERAL (SELECT capture.pattern(u.pattern) AS parts) AS p
    ) AS m
$$;

-- A list of texts in a consumer's settings; empty where there is none.
CREATE FUNCTION capture.setting_list(settings jsonb, field text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(e.value), '{}')
    FROM jsonb_array_elements_text(CASE jsonb_typeof(settings -> field) WHEN 'array' THEN settings -> field ELSE '[]' END) AS e (value)
$$;

-- The positions of the next changes of a shard, and up to where there are no others. It ends after eight megabytes of rows, and
-- after a hundred thousand positions without a change for the shard. It is planned each time: a plan that was made while a
-- partition was empty reads all of it later.
CREATE FUNCTION capture.next_changes(
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
                    AND (cardinality($6) = 0 OR l.op = ANY ($6)) AND l.op <> 'sweep'
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
            capture.setting_list(the_consumer.settings, 'tables'), max_changes, the_consumer.name;
        IF positions IS NOT NULL THEN
            upto := positions[cardinality(positions)];
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION capture.check_forgotten(the_stream capture.stream, after bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF after < the_stream.forgotten THEN
        RAISE EXCEPTION 'the log of % begins after position %, and the consumer is at %', the_stream.name, the_stream.forgotten, after
        USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Move the consumer with daymill sink rewind, or snapshot its tables.';
    END IF;
END
$$;

-- The changes of the log at some positions, as consumers receive them.
CREATE FUNCTION capture.changes_at(the_stream capture.stream, positions bigint[]) RETURNS TABLE (
    "position" bigint, stream text, op text, "schema" text, "table" text, key json, old json, new json, unchanged text[], key_changed boolean,
    xid bigint, lsn text, ordinal integer, committed_at timestamptz, schema_version integer, snapshot boolean
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE $sql$
        SELECT l.position, $1, l.op, l.schema_name, l.table_name, l.key, l.old, l.new, coalesce(l.unchanged, '{}'), l.key_changed, l.xid, l.lsn,
            l.ordinal, l.committed_at, l.schema_version, l.snapshot
        FROM capture.log AS l
        WHERE l.stream_id = $2 AND l.position >= $3[1] AND l.position <= $3[cardinality($3)] AND l.position = ANY ($3)
        ORDER BY l.position
    $sql$ USING the_stream.name, the_stream.id, positions;
END
$$;

-- SELECT * FROM capture.poll('name', 100);
--
-- The next changes of a consumer of kind poll, in order. The same ones come again until capture.ack says that they were taken.
-- While a poller has changes, no other gets any: a poller is a session, or whoever gives the same name. Its hold ends with an
-- acknowledgement of all of them, or after the lease. In a transaction that polls, does its work in this database and
-- acknowledges, each change has its effect exactly once.
CREATE FUNCTION capture.poll(
    the_consumer text, max_changes integer DEFAULT 100, the_poller text DEFAULT NULL, lease interval DEFAULT '30 seconds'
) RETURNS TABLE (
    "position" bigint, stream text, op text, "schema" text, "table" text, key json, old json, new json, unchanged text[], key_changed boolean,
    xid bigint, lsn text, ordinal integer, committed_at timestamptz, schema_version integer, snapshot boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    who text := coalesce(the_poller, 'session ' || pg_backend_pid());
    c capture.consumer;
    s capture.shard;
    st capture.stream;
    batch record;
BEGIN
    IF max_changes IS NULL OR max_changes NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'a poll takes 1 to 10000 changes, not %', max_changes USING ERRCODE = 'invalid_parameter_value';
    ELSIF lease IS NULL OR lease NOT BETWEEN '1 second' AND '1 hour' THEN
        RAISE EXCEPTION 'the lease of a poll is a second to an hour, not %', lease USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO c FROM capture.consumer AS x WHERE x.name = the_consumer AND x.kind = 'poll';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no consumer % of kind poll', the_consumer
        USING ERRCODE = 'undefined_object', HINT = 'Write it into daymill.yaml under sinks, and run daymill apply.';
    END IF;
    -- Another transaction that has it is another poller.
    SELECT * INTO s FROM capture.shard AS x WHERE x.consumer = c.name AND x.shard = 0 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR c.paused_at IS NOT NULL
        OR s.poller <> who AND s.polled_until > clock_timestamp() AND s.polled_fence = s.fence AND s.polled > s.position THEN
        RETURN;
    END IF;
    SELECT * INTO st FROM capture.stream AS x WHERE x.name = c.stream;
    IF NOT FOUND THEN
        RETURN; -- Nothing was ever captured.
    END IF;
    PERFORM capture.check_forgotten(st, s.position);
    SELECT * INTO batch FROM capture.next_changes(c, 0, st, s.position, max_changes);
    IF batch.positions IS NULL THEN
        -- Nothing up to here is for this consumer.
        UPDATE capture.shard AS x SET position = batch.upto, moved_at = now()
        WHERE x.consumer = c.name AND x.shard = 0 AND x.position < batch.upto;
        RETURN;
    END IF;
    UPDATE capture.shard AS x
    SET poller = who, polled_until = clock_timestamp() + lease, polled = batch.upto, fence = x.fence + 1, polled_fence = x.fence + 1
    WHERE x.consumer = c.name AND x.shard = 0;
    RETURN QUERY SELECT * FROM capture.changes_at(st, batch.positions);
END
$$;

-- SELECT capture.ack('name', 81213);
--
-- Says that a poller has taken all changes up to a position. It returns false where that does not count, because another
-- poller has been given the changes since, or the consumer was paused or moved: they come again.
CREATE FUNCTION capture.ack(the_consumer text, upto bigint, the_poller text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    who text := coalesce(the_poller, 'session ' || pg_backend_pid());
    c capture.consumer;
    s capture.shard;
    st capture.stream;
    taken bigint;
BEGIN
    SELECT * INTO c FROM capture.consumer AS x WHERE x.name = the_consumer AND x.kind = 'poll';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no consumer % of kind poll', the_consumer
        USING ERRCODE = 'undefined_object', HINT = 'Write it into daymill.yaml under sinks, and run daymill apply.';
    END IF;
    SELECT * INTO s FROM capture.shard AS x WHERE x.consumer = c.name AND x.shard = 0 FOR UPDATE;
    IF upto IS NULL OR upto > greatest(s.polled, s.position) THEN
        RAISE EXCEPTION 'position % was not given to a poller of %', upto, the_consumer
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Acknowledge the position of the last change that you have taken.';
    ELSIF s.poller IS DISTINCT FROM who OR s.polled_fence <> s.fence THEN
        RETURN false;
    ELSIF upto <= s.position THEN
        RETURN true; -- A repeat.
    END IF;
    SELECT * INTO st FROM capture.stream AS x WHERE x.name = c.stream;
    SELECT count(*) INTO taken
    FROM unnest((SELECT n.positions FROM capture.next_changes(c, 0, st, s.position, 10000) AS n)) AS p (position)
    WHERE p.position <= upto;
    UPDATE capture.shard AS x
    SET position = upto, delivered = x.delivered + taken, moved_at = now(), failures = 0, error = NULL, retry_at = NULL
    WHERE x.consumer = c.name AND x.shard = 0;
    RETURN true;
END
$$;

-- Go functions ------------------------------------------------------------------------------------------------------
--
-- Package jobs calls these in the application's process, with the application's connections. The transaction that takes changes
-- holds the shard's row until it commits what the function did, together with the position: nobody else moves it meanwhile.

-- Makes the consumer of a function where there is none, at the end of the log, and says which tables it wants.
CREATE FUNCTION capture.open_function(the_consumer text, the_stream text, tables json, the_shards integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c capture.consumer;
    wanted jsonb := jsonb_build_object('tables', coalesce(tables, '[]'::json)::jsonb);
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

-- The next batch of a function as one JSON document, which holds its shard until the end of the transaction; NULL where there is
-- nothing to do. Dead letters that somebody wants delivered again come first, and alone.
CREATE FUNCTION capture.take_changes(the_consumer text, max_changes integer) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    c capture.consumer;
    s capture.shard;
    st capture.stream;
    batch record;
    next_position bigint;
    most integer;
    letters json;
    changes json;
    parked boolean;
    others record;
    witnesses json;
BEGIN
    SELECT * INTO c FROM capture.consumer AS x WHERE x.name = the_consumer AND x.kind = 'function' AND x.paused_at IS NULL;
    SELECT * INTO st FROM capture.stream AS x WHERE x.name = c.stream;
    SELECT * INTO s FROM capture.shard AS x
    WHERE x.consumer = c.name AND (x.retry_at IS NULL OR x.retry_at <= now()) AND (
        x.position < st.position
        OR EXISTS (SELECT FROM capture.letter AS l WHERE l.consumer = x.consumer AND l.shard = x.shard AND l.replay_at IS NOT NULL)
    )
    ORDER BY x.position, x.shard
    LIMIT 1
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    most := greatest(1, max_changes >> least(s.failures, 30));
    SELECT json_agg(json_build_object('position', r.position, 'change', r.change) ORDER BY r.position) INTO letters
    FROM (
        SELECT l.position, l.change FROM capture.letter AS l
        WHERE l.consumer = c.name AND l.shard = s.shard AND l.replay_at IS NOT NULL
        ORDER BY l.position LIMIT most
    ) AS r;
    IF letters IS NULL THEN
        PERFORM capture.check_forgotten(st, s.position);
        SELECT * INTO batch FROM capture.next_changes(c, s.shard, st, s.position, most);
        next_position := batch.upto;
        IF batch.positions IS NULL THEN
            UPDATE capture.shard AS x SET position = batch.upto, moved_at = now() WHERE x.consumer = c.name AND x.shard = s.shard;
            RETURN json_build_object('shard', s.shard, 'upto', batch.upto);
        END IF;
        SELECT json_agg(row_to_json(x) ORDER BY x.position) INTO changes FROM capture.changes_at(st, batch.positions) AS x;
        parked := EXISTS (SELECT FROM capture.letter AS l WHERE l.consumer = c.name);
        IF s.failures >= 12 THEN
            -- Is it the change, or the function? Some that come later tell.
            SELECT * INTO others FROM capture.next_changes(c, s.shard, st, batch.upto, 100);
            SELECT json_agg(row_to_json(x) ORDER BY x.position) INTO witnesses FROM capture.changes_at(st, others.positions) AS x;
        END IF;
    END IF;
    RETURN json_build_object(
        'shard', s.shard, 'failures', s.failures, 'upto', next_position, 'changes', changes, 'letters', letters, 'parked', parked,
        'witnesses', witnesses
    );
END
$$;

-- Which of some hashes of keys, in hex, are of keys that are parked.
CREATE FUNCTION capture.parked_keys(the_consumer text, hashes json) RETURNS json
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(json_agg(DISTINCT encode(l.key_hash, 'hex')), '[]'::json)
    FROM capture.letter AS l
    WHERE l.consumer = the_consumer AND l.key_hash IN (SELECT decode(h.hash, 'hex') FROM json_array_elements_text(hashes) AS h (hash))
$$;

-- Moves a function's shard over a batch, and writes what became dead letters.
CREATE FUNCTION capture.settle_changes(the_consumer text, the_shard integer, upto bigint, taken bigint, letters json) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE capture.shard AS x
    SET position = upto, delivered = x.delivered + taken, moved_at = now(), failures = 0, error = NULL, retry_at = NULL
    WHERE x.consumer = the_consumer AND x.shard = the_shard;
    INSERT INTO capture.letter (consumer, shard, position, key_hash, key, change, state, reason)
    SELECT the_consumer, the_shard, l.position, decode(l.hash, 'hex'), l.key, l.change, l.state, l.reason
    FROM json_to_recordset(letters) AS l (position bigint, hash text, key text, change json, state text, reason text)
    ON CONFLICT (consumer, position) DO NOTHING;
$$;

-- Records what came of dead letters that were delivered again: those that were taken are gone, and the others keep their keys parked.
CREATE FUNCTION capture.settle_letters(the_consumer text, the_shard integer, gone json, again json) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH gone_letters AS (
        DELETE FROM capture.letter AS l
        WHERE l.consumer = the_consumer AND l.position IN (SELECT g.position::bigint FROM json_array_elements_text(gone) AS g (position))
        RETURNING l.position
    )
    UPDATE capture.shard AS x SET delivered = x.delivered + (SELECT count(*) FROM gone_letters)
    WHERE x.consumer = the_consumer AND x.shard = the_shard;
    UPDATE capture.letter AS l SET state = 'refused', reason = a.reason, attempts = l.attempts + 1
    FROM json_to_recordset(again) AS a (position bigint, hash text, reason text)
    WHERE l.consumer = the_consumer AND l.position = a.position;
    UPDATE capture.letter AS l SET replay_at = NULL
    WHERE l.consumer = the_consumer AND l.key_hash IN (SELECT decode(a.hash, 'hex') FROM json_to_recordset(again) AS a (hash text));
$$;

-- Records that a function failed, and when its shard is due again.
CREATE FUNCTION capture.fail_changes(the_consumer text, the_shard integer, the_error text, wait interval) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE capture.shard AS x SET failures = x.failures + 1, error = the_error, retry_at = now() + wait
    WHERE x.consumer = the_consumer AND x.shard = the_shard
$$;

REVOKE ALL ON FUNCTION
    capture.pattern(text), capture.matches_part(text, text), capture.matches(text[], text, text), capture.setting_list(jsonb, text),
    capture.next_changes(capture.consumer, integer, capture.stream, bigint, integer), capture.check_forgotten(capture.stream, bigint),
    capture.changes_at(capture.stream, bigint[]), capture.poll(text, integer, text, interval), capture.ack(text, bigint, text),
    capture.open_function(text, text, json, integer), capture.take_changes(text, integer), capture.parked_keys(text, json),
    capture.settle_changes(text, integer, bigint, bigint, json), capture.settle_letters(text, integer, json, json),
    capture.fail_changes(text, integer, text, interval)
FROM PUBLIC;
