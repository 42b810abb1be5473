-- name: ConsumerInsert :exec
INSERT INTO capture.consumer (name, stream, kind, settings, shards) VALUES (@name, @stream, @kind, @settings, @shards);

-- name: ConsumerShardsInsert :exec
-- Each take of a shard is a transaction, so the number of this one is a fence that no turn of an earlier consumer of the same name has.
INSERT INTO capture.shard (consumer, shard, position, fence)
SELECT cast(@consumer AS text), s.s, cast(@position AS bigint), pg_current_xact_id()::text::bigint FROM generate_series(0, cast(@shards AS integer) - 1) AS s (s);

-- name: ConsumerUpdate :execrows
UPDATE capture.consumer SET kind = @kind, settings = @settings WHERE name = @name;

-- name: ConsumerGet :one
SELECT c.name, c.stream, c.kind, c.settings, c.shards, c.paused_at, coalesce(c.paused_because, '')::text AS paused_because, c.created_at
FROM capture.consumer AS c WHERE c.name = @name;

-- name: ConsumerList :many
SELECT c.name, c.stream, c.kind, c.settings, c.shards, c.paused_at, coalesce(c.paused_because, '')::text AS paused_because, c.created_at,
    coalesce(p.position, 0)::bigint AS position, coalesce(p.delivered, 0)::bigint AS delivered, coalesce(p.moved_at, c.created_at)::timestamptz AS moved_at,
    coalesce(p.failures, 0)::integer AS failures, coalesce(p.error, '')::text AS error,
    (SELECT count(*) FROM capture.letter AS l WHERE l.consumer = c.name)::bigint AS letters
FROM capture.consumer AS c
CROSS JOIN LATERAL (
    SELECT min(s.position) AS position, sum(s.delivered) AS delivered, max(s.moved_at) AS moved_at, max(s.failures) AS failures,
        max(s.error) AS error
    FROM capture.shard AS s WHERE s.consumer = c.name
) AS p
ORDER BY c.name
LIMIT @max_rows;

-- name: ConsumerPausedLong :many
-- Consumers that have been paused for longer than the log's retention, so the log keeps changes only for them, and those that it no longer
-- keeps changes for.
SELECT c.name, coalesce(c.paused_because, '')::text AS paused_because,
    EXISTS (SELECT FROM capture.shard AS h WHERE h.consumer = c.name AND h.position < s.forgotten)::boolean AS is_left
FROM capture.consumer AS c INNER JOIN capture.stream AS s ON s.name = c.stream
WHERE c.paused_at < now() - @silence::interval AND EXISTS (SELECT FROM capture.shard AS h WHERE h.consumer = c.name AND h.position < s.position)
    OR EXISTS (SELECT FROM capture.shard AS h WHERE h.consumer = c.name AND h.position < s.forgotten)
ORDER BY is_left DESC, c.paused_at, c.name
LIMIT 100;

-- name: ConsumerPause :execrows
-- Pauses a consumer. One that is paused already keeps its reason, unless there is another.
UPDATE capture.consumer SET paused_at = coalesce(paused_at, now()), paused_because = coalesce(sqlc.narg('because'), paused_because) WHERE name = @name;

-- name: ConsumerResume :execrows
UPDATE capture.consumer SET paused_at = NULL, paused_because = NULL WHERE name = @name;

-- name: ConsumerLeave :many
-- Pauses the consumers that have not received changes which the log is about to forget.
UPDATE capture.consumer AS c SET paused_at = coalesce(c.paused_at, now()), paused_because = @because::text
FROM capture.stream AS s
WHERE s.id = @stream_id AND c.stream = s.name AND c.kind NOT IN ('view', 'rollup')
    AND EXISTS (SELECT FROM capture.shard AS h WHERE h.consumer = c.name AND h.position < @upto::bigint)
RETURNING c.name;

-- name: ConsumerLeft :one
-- Whether the log no longer has changes that a consumer has not received.
SELECT EXISTS (
    SELECT FROM capture.consumer AS c INNER JOIN capture.stream AS s ON s.name = c.stream INNER JOIN capture.shard AS h ON h.consumer = c.name
    WHERE c.name = @name AND h.position < s.forgotten
)::boolean AS is_left;

-- name: ConsumerDelete :execrows
DELETE FROM capture.consumer WHERE name = @name;

-- name: AcceptPaused :exec
-- Resuming a consumer accepts the schema versions that it was paused for.
UPDATE capture.accepted SET version = greatest(version, paused_for), paused_for = NULL WHERE consumer = @consumer AND paused_for IS NOT NULL;

-- name: AcceptedList :many
-- The schema version of each table up to which a consumer accepts changes.
SELECT a.schema_name, a.table_name, a.version FROM capture.accepted AS a WHERE a.consumer = @consumer;

-- name: AcceptVersion :exec
INSERT INTO capture.accepted (consumer, schema_name, table_name, version) VALUES (@consumer, @schema_name, @table_name, @version)
ON CONFLICT (consumer, schema_name, table_name) DO UPDATE SET version = greatest(capture.accepted.version, excluded.version);

-- name: AcceptPause :exec
UPDATE capture.accepted AS a SET paused_for = @version::integer
WHERE a.consumer = @consumer AND a.schema_name = @schema_name AND a.table_name = @table_name;

-- name: ShardList :many
SELECT s.shard, s.position, s.delivered, s.moved_at, s.failures, coalesce(s.error, '')::text AS error, s.retry_at
FROM capture.shard AS s WHERE s.consumer = @consumer ORDER BY s.shard;

-- name: ShardTake :one
-- Takes a shard of a consumer that is not paused, also from another holder.
UPDATE capture.shard AS s SET fence = s.fence + 1
FROM capture.consumer AS c
WHERE s.consumer = @consumer AND s.shard = @shard AND c.name = s.consumer AND c.paused_at IS NULL
RETURNING s.position, s.fence, s.failures, c.kind, c.stream, c.shards, c.settings;

-- name: ShardFence :execrows
-- Takes shards from their holders: a running delivery is not recorded, and is repeated.
UPDATE capture.shard SET fence = fence + 1 WHERE consumer = @consumer;

-- name: ShardMove :execrows
-- If lazy, the transaction's commit does not wait for the disk.
UPDATE capture.shard SET position = @position, delivered = delivered + @delivered, moved_at = now(), failures = 0, error = NULL, retry_at = NULL
WHERE consumer = @consumer AND shard = @shard AND fence = @fence
RETURNING CASE WHEN @lazy::boolean THEN pg_catalog.set_config('synchronous_commit', 'off', true) END;

-- name: ShardReplayed :exec
-- Counts changes that were delivered as dead letters.
UPDATE capture.shard SET delivered = delivered + @delivered WHERE consumer = @consumer AND shard = @shard AND fence = @fence;

-- name: ShardFail :execrows
UPDATE capture.shard SET failures = @failures, error = @error::text, retry_at = now() + @after::interval
WHERE consumer = @consumer AND shard = @shard AND fence = @fence;

-- name: ShardRewind :execrows
UPDATE capture.shard SET position = @position, fence = fence + 1, failures = 0, error = NULL, retry_at = NULL WHERE consumer = @consumer;

-- name: ShardHold :execrows
-- Prevents others from taking a shard until the transaction ends; no row if the caller has lost it.
SELECT 1 FROM capture.shard WHERE consumer = @consumer AND shard = @shard AND fence = @fence FOR UPDATE;

-- name: ShardDue :many
-- Shards that may have work: of consumers that are not paused and do not fetch changes themselves. It says which wait for their next attempt.
SELECT s.consumer, s.shard, c.stream, s.position, (s.moved_at IS NULL OR s.moved_at < now() - @idle::interval)::boolean AS is_idle,
    coalesce(s.retry_at > now(), false)::boolean AS waits,
    EXISTS (SELECT FROM capture.letter AS l WHERE l.consumer = s.consumer AND l.shard = s.shard AND l.replay_at IS NOT NULL)::boolean AS replay
FROM capture.shard AS s JOIN capture.consumer AS c ON c.name = s.consumer
WHERE c.paused_at IS NULL AND c.kind NOT IN ('poll', 'function')
ORDER BY s.consumer, s.shard;

-- name: LetterPending :one
-- Whether a consumer has letters at all, and whether some of a shard are to be delivered again.
SELECT EXISTS (SELECT FROM capture.letter AS l WHERE l.consumer = @consumer)::boolean AS any,
    EXISTS (SELECT FROM capture.letter AS l WHERE l.consumer = @consumer AND l.shard = @shard AND l.replay_at IS NOT NULL)::boolean AS replay;

-- name: LetterParked :many
SELECT DISTINCT l.key_hash FROM capture.letter AS l WHERE l.consumer = @consumer AND l.key_hash = ANY(@key_hashes::bytea[]);

-- name: LetterInsert :exec
INSERT INTO capture.letter (consumer, shard, position, key_hash, key, change, state, reason, answer)
SELECT cast(@consumer AS text), cast(@shard AS integer), unnest(cast(@positions AS bigint [])), unnest(cast(@key_hashes AS bytea [])),
    unnest(cast(@keys AS text [])), unnest(cast(@changes AS text []))::json, unnest(cast(@states AS text [])),
    unnest(cast(@reasons AS text [])), unnest(cast(@answers AS text []))
ON CONFLICT (consumer, position) DO NOTHING;

-- name: LetterReplay :many
-- The first letters of the keys whose replay was requested, in order.
SELECT l.position, l.change::text AS change FROM capture.letter AS l
WHERE l.consumer = @consumer AND l.shard = @shard AND l.replay_at IS NOT NULL
ORDER BY l.position
LIMIT @max_rows;

-- name: LetterDelete :exec
DELETE FROM capture.letter WHERE consumer = @consumer AND position = ANY(@positions::bigint[]);

-- name: LetterRefuse :exec
-- Records that a letter was refused again. Letters behind it continue to wait.
UPDATE capture.letter AS l SET state = 'refused', reason = @reason, answer = @answer, attempts = l.attempts + 1, replay_at = NULL
WHERE l.consumer = @consumer AND l.position = @position;

-- name: LetterWait :exec
UPDATE capture.letter AS l SET replay_at = NULL
WHERE l.consumer = @consumer AND l.key_hash = ANY(@key_hashes::bytea[]);

-- name: LetterList :many
SELECT l.consumer, l.position, l.key, l.state, l.reason, l.attempts, l.created_at, l.replay_at
FROM capture.letter AS l
WHERE (@consumer::text = '' OR l.consumer = @consumer::text) AND l.position > @after::bigint
ORDER BY l.consumer, l.position
LIMIT @max_rows;

-- name: LetterGet :one
SELECT l.consumer, l.position, l.key, l.key_hash, l.state, l.reason, l.answer, l.attempts, l.created_at, l.replay_at, l.change::text AS change
FROM capture.letter AS l WHERE l.consumer = @consumer AND l.position = @position;

-- name: LetterAsk :execrows
-- Requests the replay of all letters of the keys of the given positions, or of all letters if there are no positions.
UPDATE capture.letter AS l SET replay_at = now()
WHERE l.consumer = @consumer AND (
    cardinality(@positions::bigint[]) = 0
    OR l.key_hash IN (SELECT k.key_hash FROM capture.letter AS k WHERE k.consumer = @consumer AND k.position = ANY(@positions::bigint[]))
);

-- name: LetterDiscard :many
DELETE FROM capture.letter WHERE consumer = @consumer AND position = ANY(@positions::bigint[])
RETURNING key_hash;

-- name: LetterRelease :exec
-- Requests the replay of letters that wait behind none of their key any more.
UPDATE capture.letter AS l SET replay_at = now()
WHERE l.consumer = @consumer AND l.key_hash = ANY(@key_hashes::bytea[]) AND NOT EXISTS (
    SELECT FROM capture.letter AS r WHERE r.consumer = l.consumer AND r.key_hash = l.key_hash AND r.state = 'refused'
);

-- name: LetterDiscardAll :execrows
DELETE FROM capture.letter WHERE consumer = @consumer;

-- name: PollAck :one
SELECT capture.ack(@consumer::text, @upto::bigint, @poller::text)::boolean AS counts;

-- name: ProcessBeat :one
-- Records that a process is alive, and puts the jobs of dead processes back into the queue; returns how many.
SELECT capture.rescue_jobs(@process::text, @silence::interval)::bigint AS rescued;

-- name: ProcessForget :exec
DELETE FROM capture.process WHERE name = @name;

-- name: LetterGroups :many
-- The first letters, by consumer, state and reason.
SELECT l.consumer, l.state, l.reason, count(*)::bigint AS letters, (count(*) FILTER (WHERE l.replay_at IS NOT NULL))::bigint AS asked,
    min(l.created_at)::timestamptz AS first, max(l.created_at)::timestamptz AS last
FROM (
    SELECT k.consumer, k.state, k.reason, k.replay_at, k.created_at FROM capture.letter AS k ORDER BY k.consumer, k.position LIMIT @max_letters::integer
) AS l
GROUP BY l.consumer, l.state, l.reason
ORDER BY count(*) DESC, l.consumer, l.state, l.reason
LIMIT @max_rows::integer;

-- name: LetterPage :many
SELECT l.consumer, l.position, l.key, l.state, l.reason, l.attempts, l.created_at, l.replay_at
FROM capture.letter AS l
WHERE l.consumer = @consumer AND (@state::text = '' OR l.state = @state::text) AND (@reason::text = '' OR l.reason = @reason::text) AND l.position > @after::bigint
ORDER BY l.position
LIMIT @max_rows::integer;

-- name: LetterPositions :many
SELECT l.position FROM capture.letter AS l
WHERE l.consumer = @consumer AND (@state::text = '' OR l.state = @state::text) AND (@reason::text = '' OR l.reason = @reason::text)
ORDER BY l.position
LIMIT @max_rows::integer;

-- name: LateGap :execrows
-- Records the last gap of a table, if a consumer of late events has not seen it. Nobody knows which dates the missing changes affect.
UPDATE capture.consumer AS c SET settings = jsonb_set(c.settings, '{gap}', to_jsonb(n.id))
FROM (
    SELECT coalesce(max(g.id), 0) AS id
    FROM capture.gap AS g INNER JOIN capture.stream AS s ON s.id = g.stream_id
    WHERE s.name = @stream AND (cardinality(g.tables) = 0 OR @table_name::text = ANY(g.tables))
) AS n
WHERE c.name = @consumer AND coalesce((c.settings ->> 'gap')::bigint, 0) < n.id;

-- name: LateGaps :execrows
-- LateGap for all consumers of late events, because there may be no later change that makes them check.
UPDATE capture.consumer AS c SET settings = jsonb_set(c.settings, '{gap}', to_jsonb(n.id))
FROM (
    SELECT x.name, max(g.id) AS id
    FROM capture.consumer AS x
    INNER JOIN capture.stream AS s ON s.name = x.stream
    INNER JOIN capture.gap AS g ON g.stream_id = s.id AND (cardinality(g.tables) = 0 OR x.settings ->> 'table' = ANY(g.tables))
    WHERE x.kind = @kind
    GROUP BY x.name
) AS n
WHERE c.name = n.name AND coalesce((c.settings ->> 'gap')::bigint, 0) < n.id;

-- name: ConsumerOfKind :many
SELECT c.name FROM capture.consumer AS c WHERE c.kind = @kind ORDER BY c.name;

-- name: ShardIdle :many
-- Shards of unpaused consumers that have not moved for a while, although the log has newer changes.
SELECT h.consumer, h.shard, h.position, h.failures, coalesce(h.error, '')::text AS error, s.name AS stream, now()::timestamptz AS at
FROM capture.shard AS h INNER JOIN capture.consumer AS c ON c.name = h.consumer INNER JOIN capture.stream AS s ON s.name = c.stream
WHERE c.paused_at IS NULL AND h.position < s.position AND coalesce(h.moved_at, c.created_at) < now() - @silence::interval
ORDER BY h.position, h.consumer, h.shard
LIMIT @max_rows;
