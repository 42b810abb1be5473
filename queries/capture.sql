-- name: StreamEnsure :exec
INSERT INTO capture.stream (name) VALUES (@name) ON CONFLICT (name) DO NOTHING;

-- name: StreamGet :one
SELECT s.id, s.name, coalesce(s.mode, '')::text AS mode, s.mode_reason, s.state, s.reason, s.position, s.forgotten,
    coalesce(s.lsn, '')::text AS lsn, coalesce(s.seen, '')::text AS seen, s.token, s.owner, s.beat_at, s.landed_at, s.committed_at,
    coalesce(s.system_id, '')::text AS system_id, coalesce(s.timeline, 0)::integer AS timeline, coalesce(s.slot, '')::text AS slot,
    coalesce(s.slot_lsn, '')::text AS slot_lsn, coalesce(s.retained, 0)::bigint AS retained, coalesce(s.behind, 0)::bigint AS behind,
    coalesce(s.warn_at, 0)::bigint AS warn_at, coalesce(s.drop_at, 0)::bigint AS drop_at, s.guarded_at, s.url, s.tables, s.keys_only, s.repair
FROM capture.stream AS s WHERE s.name = @name;

-- name: StreamList :many
SELECT s.name FROM capture.stream AS s ORDER BY s.name LIMIT 1000;

-- name: StreamWanted :many
-- Streams that need an owner, including those that need to be taken down.
SELECT s.name, s.url FROM capture.stream AS s WHERE cardinality(s.tables || s.view_tables) > 0 OR s.mode IS NOT NULL ORDER BY s.name LIMIT 1000;

-- name: StreamConfigure :exec
UPDATE capture.stream AS s SET url = @url, tables = @tables::text[], keys_only = @keys_only::text[], repair = @repair WHERE s.name = @name;

-- name: StreamPatterns :one
SELECT (s.tables || s.view_tables)::text[] FROM capture.stream AS s WHERE s.id = @id;

-- name: StreamRefuse :exec
-- Records why nobody owns a stream, unless somebody does.
UPDATE capture.stream AS s SET state = 'stopped', reason = @reason
WHERE s.name = @name AND (s.beat_at IS NULL OR s.beat_at < now() - @silence::interval);

-- name: StreamFollow :exec
-- Records which patterns are followed. The tables that they match are in capture.captured.
UPDATE capture.stream AS s SET followed = @followed::text[] WHERE s.id = @id;

-- name: StreamFollowed :one
SELECT coalesce(s.followed, '{}')::text[] AS followed, (s.followed IS NOT NULL)::boolean AS is_known FROM capture.stream AS s WHERE s.id = @id;

-- name: StreamEnd :execrows
-- Clears the position of a stream that is taken down. The log stays.
UPDATE capture.stream AS s
SET mode = NULL, mode_reason = '', state = 'new', reason = '', lsn = NULL, seen = NULL, system_id = NULL, timeline = NULL, slot = NULL,
    slot_lsn = NULL, retained = NULL, behind = NULL, guarded_at = NULL, followed = NULL
WHERE s.id = @id AND s.token = @token;

-- name: StreamTake :one
-- Takes a stream without an owner: the last one was not heard of for a while, or has released it.
UPDATE capture.stream AS s SET token = s.token + 1, owner = @owner, beat_at = now(), state = 'waiting'
WHERE s.name = @name AND (s.beat_at IS NULL OR s.beat_at < now() - @silence::interval)
RETURNING s.id, s.token, s.position;

-- name: StreamBeat :execrows
UPDATE capture.stream AS s SET beat_at = now() WHERE s.id = @id AND s.token = @token;

-- name: StreamRelease :exec
UPDATE capture.stream AS s SET beat_at = NULL, owner = '' WHERE s.id = @id AND s.token = @token;

-- name: StreamState :execrows
UPDATE capture.stream AS s SET state = @state, reason = @reason WHERE s.id = @id AND s.token = @token;

-- name: StreamMode :execrows
UPDATE capture.stream AS s SET mode = @mode::text, mode_reason = @mode_reason WHERE s.id = @id AND s.token = @token;

-- name: StreamBegin :execrows
-- Records where the stream begins, which identifies the slot or queue. After a gap, positions are skipped.
UPDATE capture.stream AS s
SET position = s.position + @skip::bigint, system_id = @system_id::text, timeline = @timeline::integer, slot = sqlc.narg('slot'), slot_lsn = sqlc.narg('slot_lsn'),
    lsn = sqlc.narg('lsn'), seen = sqlc.narg('seen')
WHERE s.id = @id AND s.token = @token;

-- name: StreamTimeline :execrows
UPDATE capture.stream AS s SET timeline = @timeline::integer WHERE s.id = @id AND s.token = @token;

-- name: StreamGuard :exec
UPDATE capture.stream AS s SET retained = @retained::bigint, behind = @behind::bigint, warn_at = @warn_at::bigint,
    drop_at = @drop_at::bigint, guarded_at = now()
WHERE s.id = @id AND s.token = @token;

-- name: StreamOwn :one
-- Prevents others from taking the stream until the transaction ends; no row if the caller has lost it.
SELECT s.position FROM capture.stream AS s WHERE s.id = @id AND s.token = @token FOR UPDATE;

-- name: StreamHold :one
-- Prevents others, including the owner, from moving a stream until the transaction ends.
SELECT s.id, s.position FROM capture.stream AS s WHERE s.name = @name FOR UPDATE;

-- name: StreamUnowned :one
-- Prevents others from taking a stream without an owner until the transaction ends.
SELECT s.id FROM capture.stream AS s
WHERE s.name = @name AND (s.beat_at IS NULL OR s.beat_at < now() - @silence::interval) FOR UPDATE;

-- name: StreamAppend :exec
WITH moved AS (
    UPDATE capture.stream AS s SET position = @position, landed_at = now() WHERE s.id = @id RETURNING s.name
)
SELECT pg_notify('daymill_capture', m.name) FROM moved AS m;

-- name: StreamForget :exec
UPDATE capture.stream AS s SET forgotten = greatest(s.forgotten, @position) WHERE s.id = @id;

-- name: LogPartitionLast :one
SELECT coalesce(max(p.upto), 0)::bigint AS upto FROM capture.log_partition AS p WHERE p.stream_id = @stream_id;

-- name: LogPartitionInsert :exec
INSERT INTO capture.log_partition (stream_id, after, upto) VALUES (@stream_id, @after, @upto);

-- name: LogPartitionFill :exec
UPDATE capture.log_partition AS p SET filled_at = now()
FROM capture.stream AS s
WHERE s.id = @stream_id AND p.stream_id = s.id AND p.filled_at IS NULL AND p.upto <= s.position;

-- name: LogPartitionOld :many
-- Partitions, oldest first, that have been full for the retention, and that all consumers have passed or have been waited for long enough.
-- Daymill's own consumers, which belong to views and the rollup, are waited for without a limit: a snapshot does not help them.
SELECT p.after, p.upto
FROM capture.log_partition AS p INNER JOIN capture.stream AS s ON s.id = p.stream_id
WHERE p.stream_id = @stream_id AND p.filled_at <= now() - @retention::interval AND NOT EXISTS (
    SELECT FROM capture.consumer AS c INNER JOIN capture.shard AS h ON h.consumer = c.name
    WHERE c.stream = s.name AND h.position < p.upto
        AND (c.kind IN ('view', 'rollup') OR @hold::interval = interval '0' OR p.filled_at > now() - @hold::interval)
)
ORDER BY p.after
LIMIT 100;

-- name: LogPartitionDelete :exec
DELETE FROM capture.log_partition WHERE stream_id = @stream_id AND after = @after;

-- name: CapturedUpsert :exec
INSERT INTO capture.captured (stream_id, schema_name, table_name, oid, identity, reason)
VALUES (@stream_id, @schema_name, @table_name, @oid, @identity, @reason)
ON CONFLICT (stream_id, schema_name, table_name) DO UPDATE
SET oid = excluded.oid, identity = excluded.identity, reason = excluded.reason
WHERE (capture.captured.oid, capture.captured.identity, capture.captured.reason) IS DISTINCT FROM (excluded.oid, excluded.identity, excluded.reason);

-- name: CapturedDelete :exec
DELETE FROM capture.captured WHERE stream_id = @stream_id AND NOT (schema_name || '.' || table_name = ANY(@tables::text[]));

-- name: CapturedList :many
SELECT c.schema_name, c.table_name, c.oid, c.identity, c.reason, c.since
FROM capture.captured AS c WHERE c.stream_id = @stream_id ORDER BY c.schema_name, c.table_name;

-- name: SchemaVersionLast :many
-- The last version of each table.
SELECT DISTINCT ON (v.schema_name, v.table_name) v.schema_name, v.table_name, v.version, v.columns::text AS columns
FROM capture.schema_version AS v WHERE v.stream_id = @stream_id
ORDER BY v.schema_name, v.table_name, v.version DESC;

-- name: SchemaVersionInsert :execrows
INSERT INTO capture.schema_version (stream_id, schema_name, table_name, version, position, columns)
VALUES (@stream_id, @schema_name, @table_name, @version, @position, @columns)
ON CONFLICT DO NOTHING;

-- name: SchemaVersionGet :one
SELECT v.columns::text AS columns
FROM capture.schema_version AS v INNER JOIN capture.stream AS s ON s.id = v.stream_id
WHERE s.name = @stream AND v.schema_name = @schema_name AND v.table_name = @table_name AND v.version = @version;

-- name: GapInsert :exec
INSERT INTO capture.gap (stream_id, kind, reason, after, lsn, tables)
VALUES (@stream_id, @kind, @reason, @after, sqlc.narg('lsn'), @tables::text[]);

-- name: GapList :many
-- Unrepaired gaps, and then the others, newest first.
SELECT g.kind, g.reason, g.after, g.tables, g.created_at, g.repaired_at
FROM capture.gap AS g WHERE g.stream_id = @stream_id ORDER BY g.repaired_at IS NOT NULL, g.id DESC LIMIT @max_rows;

-- name: StreamStanding :many
-- The state of streams with captured tables.
SELECT s.name, s.state, s.reason, s.repair, coalesce(s.retained, 0)::bigint AS retained, coalesce(s.behind, 0)::bigint AS behind,
    s.position, s.forgotten, (s.beat_at IS NULL OR s.beat_at < now() - interval '1 minute')::boolean AS is_unowned,
    -- How long the last change took from its commit to the log, or since when nobody reads.
    (CASE
        WHEN s.beat_at IS NULL OR s.beat_at < now() - interval '1 minute' THEN extract(epoch FROM now() - coalesce(s.beat_at, s.landed_at, now()))
        ELSE coalesce(extract(epoch FROM s.landed_at - s.committed_at), 0)
    END)::float8 AS lag_seconds,
    (SELECT count(*) FROM capture.gap AS g WHERE g.stream_id = s.id AND g.repaired_at IS NULL)::bigint AS gaps
FROM capture.stream AS s
WHERE cardinality(s.tables || s.view_tables) > 0
ORDER BY s.name
LIMIT 1000;

-- name: StreamSnapshots :many
-- The progress of each stream's unfinished snapshots.
SELECT s.name, count(*)::bigint AS tables, coalesce(sum(p.rows), 0)::bigint AS rows, coalesce(sum(greatest(p.estimate, p.rows)), 0)::bigint AS estimate
FROM capture.snapshot AS p INNER JOIN capture.stream AS s ON s.id = p.stream_id
WHERE p.state IN ('waiting', 'running', 'paused')
GROUP BY s.name
ORDER BY s.name
LIMIT 1000;

-- name: StreamHeads :many
SELECT s.name, s.position FROM capture.stream AS s ORDER BY s.name LIMIT 1000;

-- name: LogTransactions :many
-- The lower halves of the numbers of the transactions whose changes are at some positions.
SELECT DISTINCT (l.xid & 4294967295)::bigint AS xid FROM capture.log AS l INNER JOIN capture.stream AS s ON s.id = l.stream_id
WHERE s.name = @stream AND l.position > @after AND l.position <= @upto AND NOT l.snapshot;

-- name: WatermarkLanded :many
SELECT w.token FROM capture.watermark AS w WHERE w.token = ANY(@tokens::text[]);

-- name: WatermarkTake :execrows
DELETE FROM capture.watermark WHERE token = @token;

-- name: WatermarkPrune :exec
-- A thousand of a stream's old watermarks that no task waits for.
DELETE FROM capture.watermark WHERE token IN (
    SELECT w.token FROM capture.watermark AS w
    WHERE w.stream_id = @stream_id AND w.landed_at < now() - interval '1 day'
        AND NOT EXISTS (SELECT FROM view.task AS t WHERE t.state IN ('queued', 'running') AND w.token = ANY(t.watermarks))
    ORDER BY w.landed_at LIMIT 1000);
