-- name: ViewInsert :one
INSERT INTO view.view (name, gap_seen) SELECT @name, coalesce((SELECT max(g.id) FROM capture.gap AS g), 0) RETURNING id;

-- name: ViewGet :one
SELECT v.id, v.name, v.paused_at, coalesce(v.paused_because, '')::text AS paused_because, v.refreshed_at, v.refreshed, v.created_at
FROM view.view AS v WHERE v.name = @name;

-- name: ViewByID :one
SELECT v.id, v.name, v.paused_at, coalesce(v.paused_because, '')::text AS paused_because, v.refreshed_at, v.refreshed, v.created_at
FROM view.view AS v WHERE v.id = @id;

-- name: ViewList :many
SELECT v.id, v.name, v.paused_at, coalesce(v.paused_because, '')::text AS paused_because, v.refreshed_at, v.refreshed, v.created_at
FROM view.view AS v ORDER BY v.name LIMIT @max_rows;

-- name: ViewRows :one
-- An estimate: of the statistics of writes, or of the last ANALYZE.
SELECT greatest(pg_catalog.pg_stat_get_live_tuples(c.oid), c.reltuples::bigint, 0)::bigint AS rows
FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'views' AND c.relname = @name::text;

-- name: ViewLock :one
-- Locks a view until the transaction ends. Tasks can still be inserted.
SELECT v.id FROM view.view AS v WHERE v.id = @id FOR NO KEY UPDATE;

-- name: ViewRefreshed :exec
UPDATE view.view SET refreshed_at = now(), refreshed = refreshed + @roots::bigint WHERE id = @id;

-- name: ViewPause :execrows
-- Pauses a view. One that is paused already keeps its reason, unless there is another.
UPDATE view.view SET paused_at = coalesce(paused_at, now()), paused_because = coalesce(nullif(@because::text, ''), paused_because) WHERE id = @id;

-- name: ViewResume :execrows
UPDATE view.view SET paused_at = NULL, paused_because = NULL WHERE id = @id;

-- name: ViewDelete :execrows
DELETE FROM view.view WHERE id = @id;

-- name: ViewGap :one
-- The last gap of a stream that may affect a view and that the view has not repaired.
SELECT coalesce(max(g.id), 0)::bigint FROM capture.gap AS g
INNER JOIN capture.stream AS s ON s.id = g.stream_id
INNER JOIN view.view AS v ON v.id = @id
WHERE g.id > v.gap_seen AND s.name = ANY(@streams::text[]) AND (g.tables = '{}' OR g.tables && @tables::text[]);

-- name: ViewGapSeen :exec
UPDATE view.view SET gap_seen = greatest(gap_seen, @gap::bigint) WHERE id = @id;

-- name: VersionInsert :one
INSERT INTO view.version (view_id, state, table_name, plan) VALUES (@view_id, 'building', '', @plan) RETURNING id;

-- name: VersionTable :exec
UPDATE view.version SET table_name = @table_name, plan = @plan WHERE id = @id;

-- name: VersionList :many
SELECT v.id, v.view_id, v.state, v.table_name, v.plan, v.revision, v.stale, v.created_at, v.served_at
FROM view.version AS v WHERE v.view_id = @view_id ORDER BY v.id;

-- name: VersionRevisions :many
SELECT v.id, v.revision FROM view.version AS v WHERE v.view_id = @view_id ORDER BY v.id;

-- name: VersionServe :exec
UPDATE view.version SET state = 'serving', table_name = @table_name, served_at = now(), revision = revision + 1 WHERE id = @id;

-- name: VersionPlan :exec
UPDATE view.version SET plan = @plan, revision = revision + 1 WHERE id = @id;

-- name: VersionStale :exec
UPDATE view.version SET stale = @stale, revision = revision + 1 WHERE id = @id;

-- name: VersionDelete :exec
DELETE FROM view.version WHERE id = @id;

-- name: ViewTaskInsert :one
INSERT INTO view.task (view_id, version_id, kind, table_index, keys, repair, total, stage, actor, via)
VALUES (@view_id, @version_id, @kind, @table_index, sqlc.narg('keys')::json, @repair, @total, @stage, coalesce(nullif(@actor::text, ''), current_user), @via)
RETURNING id;

-- name: ViewTaskWhole :exec
-- Inserts a task that reads all rows, unless there is one that has not begun, which reads the same.
INSERT INTO view.task (view_id, version_id, kind, repair, via)
SELECT @view_id, @version_id::bigint, @kind, @repair, @via
WHERE NOT EXISTS (
    SELECT FROM view.task AS t
    WHERE t.version_id = @version_id::bigint AND t.kind = @kind AND t.repair = @repair AND t.keys IS NULL AND t.state = 'queued' AND t.fence = 0);

-- name: ViewTaskGet :one
SELECT t.id, t.view_id, coalesce(t.version_id, 0)::bigint AS version_id, t.kind, t.state, t.table_index, coalesce(t.keys::text, '')::text AS keys, t.repair, t.cursor, t.done,
    t.total, t.differing, t.repaired, t.misfits, t.examples, t.failures, t.error, t.fence, t.actor, t.via, t.created_at, t.started_at, t.moved_at, t.finished_at,
    t.retry_at, t.since, t.looked_at, t.stage, t.copied, t.watermarks
FROM view.task AS t WHERE t.id = @id;

-- name: ViewTaskList :many
SELECT t.id, t.view_id, coalesce(t.version_id, 0)::bigint AS version_id, t.kind, t.state, t.table_index, coalesce(t.keys::text, '')::text AS keys, t.repair, t.cursor, t.done,
    t.total, t.differing, t.repaired, t.misfits, t.examples, t.failures, t.error, t.fence, t.actor, t.via, t.created_at, t.started_at, t.moved_at, t.finished_at,
    t.retry_at, t.since, t.looked_at, t.stage, t.copied, t.watermarks
FROM view.task AS t WHERE t.view_id = @view_id ORDER BY t.id DESC LIMIT @max_rows;

-- name: ViewTaskStanding :many
SELECT t.id, t.view_id, coalesce(t.version_id, 0)::bigint AS version_id, t.kind, t.state, t.table_index, coalesce(t.keys::text, '')::text AS keys, t.repair, t.cursor, t.done,
    t.total, t.differing, t.repaired, t.misfits, t.examples, t.failures, t.error, t.fence, t.actor, t.via, t.created_at, t.started_at, t.moved_at, t.finished_at,
    t.retry_at, t.since, t.looked_at, t.stage, t.copied, t.watermarks
FROM view.task AS t WHERE t.view_id = @view_id AND t.kind IN ('poll', 'compare') ORDER BY t.id LIMIT 1000;

-- name: ViewTaskDue :many
SELECT t.id FROM view.task AS t INNER JOIN view.view AS v ON v.id = t.view_id
WHERE t.state IN ('queued', 'running') AND v.paused_at IS NULL AND (t.retry_at IS NULL OR t.retry_at <= now())
    AND (t.taken_at IS NULL OR t.taken_at < now() - @silence::interval)
ORDER BY t.id LIMIT 100;

-- name: ViewTaskTake :one
UPDATE view.task AS t SET state = 'running', fence = t.fence + 1, taken_at = now(), started_at = coalesce(t.started_at, now())
FROM view.view AS v
WHERE t.id = @id AND v.id = t.view_id AND v.paused_at IS NULL AND t.state IN ('queued', 'running') AND (t.taken_at IS NULL OR t.taken_at < now() - @silence::interval)
RETURNING t.fence;

-- name: ViewTaskBeat :execrows
UPDATE view.task SET taken_at = now() WHERE id = @id AND fence = @fence AND state = 'running';

-- name: ViewTaskRelease :exec
UPDATE view.task SET taken_at = NULL WHERE id = @id AND fence = @fence;

-- name: ViewTaskMove :execrows
UPDATE view.task SET cursor = @cursor, done = done + @done::bigint, differing = differing + @differing::bigint, repaired = repaired + @repaired::bigint,
    misfits = misfits + @misfits::bigint, copied = copied + @copied::bigint, watermarks = coalesce(@watermarks::text[], '{}'), stage = @stage, examples = @examples, moved_at = now(), taken_at = now(), failures = 0, error = '', retry_at = NULL
WHERE id = @id AND fence = @fence AND state = 'running';

-- name: ViewTaskFinish :execrows
UPDATE view.task SET state = @state, error = @error, finished_at = now() WHERE id = @id AND fence = @fence AND state = 'running';

-- name: ViewTaskFail :execrows
UPDATE view.task SET failures = failures + 1, error = @error, taken_at = NULL, retry_at = now() + least(interval '1 minute', interval '1 second' * power(2, least(failures, 10)))
WHERE id = @id AND fence = @fence AND state = 'running';

-- name: ViewTaskCancel :execrows
UPDATE view.task SET state = 'canceled', finished_at = now() WHERE view_id = @view_id AND kind = @kind AND state IN ('queued', 'running');

-- name: ViewTaskPrune :execrows
DELETE FROM view.task WHERE id IN (
    SELECT t.id FROM view.task AS t WHERE t.state IN ('done', 'failed', 'canceled') AND t.finished_at < now() - @keep::interval ORDER BY t.id LIMIT 1000);

-- name: DriftInsert :execrows
INSERT INTO view.drift (view_id, kind, table_index, column_number, sentence, state)
SELECT @view_id, @kind, @table_index, @column_number, @sentence, @state
WHERE NOT EXISTS (
    SELECT FROM view.drift AS d
    WHERE d.view_id = @view_id AND d.kind = @kind AND d.table_index = @table_index AND d.column_number = @column_number AND d.sentence = @sentence
        AND d.state IN ('open', 'rejected'));

-- name: CapabilityUsed :one
-- Which capabilities an installation uses.
SELECT EXISTS (SELECT FROM capture.stream) AS has_streams, EXISTS (SELECT FROM view.view) AS has_views,
    EXISTS (SELECT FROM analytics.rollup_dates) AS has_dates;

-- name: ViewStanding :many
-- The state of views: the oldest task that fails or that nobody works on, the last one that has failed permanently, and the last verification that
-- found different keys, if nothing has been done about it since.
SELECT v.name, (v.paused_at IS NOT NULL)::boolean AS is_paused, coalesce(v.paused_because, '')::text AS paused_because,
    (SELECT count(*) FROM view.drift AS d WHERE d.view_id = v.id AND d.state = 'open')::bigint AS open_drift,
    coalesce((
        SELECT t.kind || ': ' || t.error FROM view.task AS t WHERE t.view_id = v.id AND t.state IN ('queued', 'running') AND t.failures > 0
        ORDER BY t.id LIMIT 1
    ), '')::text AS failing,
    EXISTS (
        SELECT FROM view.task AS t WHERE t.view_id = v.id AND t.state IN ('queued', 'running') AND t.failures = 0
            AND greatest(t.created_at, t.moved_at, t.taken_at, t.retry_at) < now() - interval '5 minutes'
    ) AS is_waiting,
    coalesce((
        SELECT t.kind || ': ' || t.error FROM view.task AS t WHERE t.view_id = v.id AND t.state = 'failed' AND t.version_id IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM view.task AS l WHERE l.version_id = t.version_id AND l.id > t.id AND l.state = 'done'
                    AND (l.kind = 'build' OR l.kind = 'verify' AND (t.kind = 'verify' OR l.differing <= l.repaired))
            )
        ORDER BY t.id DESC LIMIT 1
    ), '')::text AS failed,
    coalesce((
        SELECT t.differing - t.repaired FROM view.task AS t WHERE t.view_id = v.id AND t.kind = 'verify' AND t.state = 'done' AND t.version_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM view.task AS l WHERE l.version_id = t.version_id AND l.id > t.id AND l.state = 'done' AND l.kind IN ('verify', 'build'))
        ORDER BY t.id DESC LIMIT 1
    ), 0)::bigint AS differing
FROM view.view AS v ORDER BY v.name LIMIT 1000;

-- name: DriftList :many
SELECT d.id, d.view_id, d.kind, d.table_index, d.column_number, d.sentence, d.state, d.created_at, d.decided_at, d.decided_by
FROM view.drift AS d WHERE d.view_id = @view_id ORDER BY d.id DESC LIMIT @max_rows;

-- name: DriftHolds :one
-- Whether drift that nobody has accepted is why a view is paused.
SELECT EXISTS (
    SELECT FROM view.drift AS d INNER JOIN view.view AS v ON v.id = d.view_id
    WHERE d.view_id = @view_id AND d.state IN ('open', 'rejected') AND d.kind <> 'added' AND v.paused_at IS NOT NULL
        AND (v.paused_because = d.sentence OR v.paused_because LIKE '%: change the definition'));

-- name: DriftDecide :many
UPDATE view.drift SET state = @state, decided_at = now(), decided_by = @decided_by
WHERE view_id = @view_id AND state = @former AND (@former = 'open' OR kind <> 'added')
    AND (cardinality(@ids::bigint[]) = 0 OR id = ANY(@ids::bigint[])) RETURNING id, kind, table_index, column_number;

-- name: StreamHead :one
SELECT s.position, s.forgotten FROM capture.stream AS s WHERE s.name = @name;

-- name: ViewDatabaseList :many
SELECT d.name, d.variable FROM view.database AS d ORDER BY d.name;

-- name: ViewDatabaseUpsert :exec
INSERT INTO view.database (name, variable) VALUES (@name, @variable) ON CONFLICT (name) DO UPDATE SET variable = EXCLUDED.variable;

-- name: ViewTaskCancelVersion :exec
UPDATE view.task SET state = 'canceled', finished_at = now() WHERE version_id = @version_id::bigint AND state IN ('queued', 'running');

-- name: ViewCaptured :many
-- Tables of a stream that are captured.
SELECT c.schema_name, c.table_name, c.oid FROM capture.captured AS c INNER JOIN capture.stream AS s ON s.id = c.stream_id
WHERE s.name = @stream AND c.reason = '' AND s.state = 'running';

-- name: ViewStreamEnsure :exec
INSERT INTO capture.stream (name, url) VALUES (@name, @url) ON CONFLICT (name) DO NOTHING;

-- name: ViewStreamTables :exec
UPDATE capture.stream SET view_tables = @tables::text[] WHERE name = @name AND view_tables <> @tables::text[];

-- name: ViewStreamNone :exec
UPDATE capture.stream SET view_tables = '{}' WHERE view_tables <> '{}' AND name <> ALL(@streams::text[]);

-- name: ViewTaskStand :exec
-- Inserts a standing task: a poll or a comparison.
INSERT INTO view.task (view_id, version_id, kind, table_index, since, mark, mark_at, retry_at, via)
SELECT @view_id, @version_id::bigint, @kind, @table_index, sqlc.narg('since')::text, sqlc.narg('since')::text, now(), now() + @after::interval, 'cron'
ON CONFLICT (version_id, kind, table_index) WHERE kind IN ('poll', 'compare') DO NOTHING;

-- name: ViewTaskAgain :execrows
-- Ends a round of a standing task. The next poll begins at the value that was the greatest before transactions began that may still be open.
UPDATE view.task SET state = 'queued', cursor = NULL, taken_at = NULL, started_at = NULL, failures = 0, error = '', looked_at = started_at,
    retry_at = greatest(now(), started_at + @every::interval),
    since = CASE WHEN mark_at <= started_at - @overlap::interval THEN mark ELSE since END,
    mark = CASE WHEN mark_at <= started_at - @overlap::interval THEN coalesce(sqlc.narg('observed')::text, mark) ELSE mark END,
    mark_at = CASE WHEN mark_at <= started_at - @overlap::interval THEN now() ELSE mark_at END
WHERE id = @id AND fence = @fence AND state = 'running';

-- name: ViewTaskSoon :exec
-- Makes a version's standing tasks due at once.
UPDATE view.task SET retry_at = NULL WHERE version_id = @version_id::bigint AND kind IN ('poll', 'compare') AND state = 'queued';

-- name: VersionLook :one
-- The position of the next rows that are read on a schedule.
UPDATE view.version SET looks = looks + 1 WHERE id = @id RETURNING looks;

-- name: ViewTaskFiller :one
-- The build that fills a table: the first one that has not failed.
SELECT coalesce(min(t.id), 0)::bigint FROM view.task AS t WHERE t.version_id = @version_id::bigint AND t.kind = 'build' AND t.state IN ('queued', 'running', 'done');

-- name: ViewTaskHold :exec
-- Inserts a refresh that waits until the table is filled.
INSERT INTO view.task (view_id, version_id, kind, table_index, keys, via, retry_at)
VALUES (@view_id, @version_id::bigint, 'refresh', @table_index, sqlc.narg('keys')::json, 'capture', now() + interval '100 years');

-- name: ViewTaskMerge :execrows
-- Adds keys to the last waiting refresh, if it has room.
UPDATE view.task SET keys = (keys::jsonb || sqlc.arg('keys')::jsonb)::json
WHERE id = (SELECT max(t.id) FROM view.task AS t WHERE t.version_id = @version_id::bigint AND t.kind = 'refresh' AND t.table_index = @table_index)
    AND state = 'queued' AND fence = 0 AND retry_at > now() + interval '10 years' AND json_array_length(keys) < @max_keys::integer;

-- name: ViewTaskUnhold :exec
UPDATE view.task SET retry_at = NULL WHERE version_id = @version_id::bigint AND state = 'queued' AND retry_at > now() + interval '10 years';

-- name: ViewTaskWaiting :many
-- Refreshes of a table that are not finished.
SELECT t.id FROM view.task AS t WHERE t.version_id = @version_id::bigint AND t.kind = 'refresh' AND t.state IN ('queued', 'running') ORDER BY t.id LIMIT 1000;

-- name: ViewTaskFence :exec
-- Takes a version's tasks from their workers, which know only its old plan.
UPDATE view.task SET fence = fence + 1, taken_at = NULL WHERE version_id = @version_id::bigint AND state = 'running';

-- name: ViewDelivered :one
-- The position up to which a view has received the changes of a stream.
SELECT min(s.position)::bigint FROM capture.shard AS s WHERE s.consumer = @consumer;

-- name: ViewTaskStop :exec
-- Takes a view's tasks from their workers.
UPDATE view.task SET fence = fence + 1, taken_at = NULL WHERE view_id = @view_id AND state = 'running';

-- name: ViewTaskReady :execrows
-- What a task has waited for has come, so that its waits are not failures of what follows.
UPDATE view.task SET failures = 0, error = '' WHERE id = @id AND fence = @fence AND state = 'running';
