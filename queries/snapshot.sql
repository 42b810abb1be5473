-- name: SnapshotRequest :exec
INSERT INTO capture.snapshot_request (stream_id, consumer, tables) VALUES (@stream_id, sqlc.narg('consumer'), @tables::text[]);

-- name: SnapshotRequestList :many
-- Requests whose tables are known: the stream is read, and has followed the patterns.
SELECT r.id, coalesce(r.consumer, '')::text AS consumer, r.tables
FROM capture.snapshot_request AS r INNER JOIN capture.stream AS s ON s.id = r.stream_id
WHERE s.name = @stream AND s.state = 'running' AND s.followed = s.tables || s.view_tables
ORDER BY r.id
LIMIT 100;

-- name: SnapshotRequestDelete :execrows
DELETE FROM capture.snapshot_request WHERE id = @id;

-- name: SnapshotInsert :exec
-- An unfinished snapshot begins again, because it may have read rows from before the request.
INSERT INTO capture.snapshot (stream_id, schema_name, table_name, consumer)
SELECT s.id, @schema_name, @table_name, sqlc.narg('consumer') FROM capture.stream AS s WHERE s.name = @stream
ON CONFLICT (stream_id, schema_name, table_name, coalesce(consumer, '')) WHERE state IN ('waiting', 'running', 'paused')
DO UPDATE SET
    state = CASE capture.snapshot.state WHEN 'paused' THEN 'paused' ELSE 'waiting' END, reason = '', cursor = NULL,
    chunks = capture.snapshot.chunks + 1, rows = 0, started_at = NULL, since_xid = NULL, created_at = now();

-- name: SnapshotDue :many
-- Streams that have a due snapshot.
SELECT s.name FROM capture.stream AS s
WHERE s.state = 'running' AND (
    EXISTS (SELECT FROM capture.snapshot AS n WHERE n.stream_id = s.id AND n.state IN ('waiting', 'running'))
    OR s.followed = s.tables || s.view_tables AND EXISTS (SELECT FROM capture.snapshot_request AS r WHERE r.stream_id = s.id)
)
ORDER BY s.name;

-- name: SnapshotNext :many
-- Snapshots of a stream that have work left, those that have begun first.
SELECT n.id, n.schema_name, n.table_name, coalesce(n.consumer, '')::text AS consumer, n.state, n.cursor, n.chunks, n.rows, n.after,
    coalesce(n.since_xid, '')::text AS since_xid, c.oid
FROM capture.snapshot AS n
INNER JOIN capture.stream AS s ON s.id = n.stream_id
LEFT JOIN capture.captured AS c
    ON c.stream_id = n.stream_id AND c.schema_name = n.schema_name AND c.table_name = n.table_name AND c.reason = ''
WHERE s.name = @stream AND s.state = 'running' AND n.state IN ('waiting', 'running')
ORDER BY n.state, n.id;

-- name: SnapshotBegin :execrows
UPDATE capture.snapshot SET state = 'running', reason = '', started_at = now(), moved_at = now(), after = @after, since_xid = @since_xid::text, estimate = @estimate
WHERE id = @id AND chunks = @chunks AND state = 'waiting';

-- name: SnapshotWait :execrows
UPDATE capture.snapshot SET reason = @reason WHERE id = @id AND chunks = @chunks AND reason <> @reason;

-- name: SnapshotMove :execrows
UPDATE capture.snapshot SET reason = '', cursor = @cursor, rows = rows + @read, chunks = chunks + 1, moved_at = now()
WHERE id = @id AND chunks = @chunks AND state = 'running';

-- name: SnapshotFinish :execrows
UPDATE capture.snapshot SET state = @state, reason = @reason, finished_at = now(), moved_at = now()
WHERE id = @id AND chunks = @chunks AND state IN ('waiting', 'running');

-- name: SnapshotList :many
SELECT n.id, s.name AS stream, n.schema_name, n.table_name, coalesce(n.consumer, '')::text AS consumer, n.state, n.reason, n.chunks, n.rows, n.estimate,
    n.created_at, n.started_at, n.moved_at, n.finished_at
FROM capture.snapshot AS n INNER JOIN capture.stream AS s ON s.id = n.stream_id
WHERE (@stream::text = '' OR s.name = @stream::text) AND (@consumer::text = '' OR n.consumer = @consumer::text)
ORDER BY n.id DESC
LIMIT @max_rows;

-- name: SnapshotRequestCount :one
SELECT count(*) FROM capture.snapshot_request AS r INNER JOIN capture.stream AS s ON s.id = r.stream_id
WHERE s.name = @stream AND (@consumer::text = '' OR r.consumer = @consumer::text);

-- name: SnapshotPause :execrows
UPDATE capture.snapshot SET state = 'paused' WHERE id = @id AND state IN ('waiting', 'running');

-- name: SnapshotResume :execrows
UPDATE capture.snapshot SET state = CASE WHEN started_at IS NULL THEN 'waiting' ELSE 'running' END WHERE id = @id AND state = 'paused';

-- name: SnapshotRestart :execrows
UPDATE capture.snapshot SET state = 'waiting', reason = '', cursor = NULL, chunks = chunks + 1, rows = 0, started_at = NULL, since_xid = NULL
WHERE id = @id AND state IN ('waiting', 'running', 'paused');

-- name: SnapshotCancel :execrows
UPDATE capture.snapshot SET state = 'cancelled', finished_at = now() WHERE id = @id AND state IN ('waiting', 'running', 'paused');

-- name: GapRepair :execrows
-- Gaps of a stream are repaired once every snapshot for all consumers is complete.
UPDATE capture.gap AS g SET repaired_at = now()
FROM capture.stream AS s
WHERE s.name = @stream AND g.stream_id = s.id AND g.repaired_at IS NULL
    AND NOT EXISTS (SELECT FROM capture.snapshot_request AS r WHERE r.stream_id = s.id AND r.consumer IS NULL)
    AND NOT EXISTS (SELECT FROM capture.snapshot AS n WHERE n.stream_id = s.id AND n.consumer IS NULL AND n.state IN ('waiting', 'running', 'paused'));

-- name: SnapshotChanged :many
-- The changes of a table since a position: their keys, and for an update the columns that it did not touch.
SELECT DISTINCT l.op, l.key::text AS key, coalesce(l.unchanged, '{}')::text[] AS unchanged
FROM capture.log AS l
WHERE l.stream_id = @stream_id AND l.position > @after AND l.position <= @upto AND l.schema_name = @schema_name AND l.table_name = @table_name
    AND NOT l.snapshot;

-- name: SnapshotStream :one
-- The position of a stream, and what identifies this beginning of it.
SELECT s.id, s.position, coalesce(s.mode, '')::text AS mode, s.state, coalesce(s.lsn, '0/0')::text AS lsn, coalesce(s.seen, '')::text AS seen,
    coalesce(s.slot, '')::text AS slot,
    (coalesce(s.mode, '') || ' ' || coalesce(s.slot_lsn, '') || ' ' || (SELECT coalesce(max(g.id), 0) FROM capture.gap AS g WHERE g.stream_id = s.id))::text AS beginning
FROM capture.stream AS s WHERE s.name = @stream;
