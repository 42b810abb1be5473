-- name: AlertSettingsGet :one
SELECT s.lasting, s.no_worker, s.pages FROM daymill.alert_settings AS s;

-- name: AlertSettingsSet :exec
INSERT INTO daymill.alert_settings (lasting, no_worker, pages, looked_at) VALUES (@lasting, @no_worker, @pages, now() - interval '1 day')
ON CONFLICT (id) DO UPDATE SET lasting = excluded.lasting, no_worker = excluded.no_worker, pages = excluded.pages;

-- name: AlertLook :one
-- Begins a look, unless another one began within a span of time.
INSERT INTO daymill.alert_settings AS s (id) VALUES (true)
ON CONFLICT (id) DO UPDATE SET look = s.look + 1, looked_at = now() WHERE s.looked_at <= now() - @every::interval
RETURNING s.look;

-- name: AlertFence :one
-- The settings, if no other look has begun. It is the first statement of the transaction that records a look.
UPDATE daymill.alert_settings AS s SET looked_at = now() WHERE s.look = @look RETURNING s.lasting, s.no_worker;

-- name: AlertSee :exec
-- Records a finding.
INSERT INTO daymill.alerts AS a (finding, level, sentence, command, path) VALUES (@finding, @level, @sentence, @command, @path)
ON CONFLICT (finding) WHERE ended_at IS NULL
DO UPDATE SET level = excluded.level, sentence = excluded.sentence, command = excluded.command, path = excluded.path, seen_at = now();

-- name: AlertTell :exec
-- Tells people of a finding that this look has seen and that has lasted.
UPDATE daymill.alerts SET told_at = now()
WHERE finding = @finding AND ended_at IS NULL AND told_at IS NULL AND seen_at = now() AND began_at <= now() - @lasting::interval;

-- name: AlertOpenInsert :exec
INSERT INTO daymill.alert_messages (channel, alert, event)
SELECT c.name, a.id, 'open' FROM daymill.alerts AS a CROSS JOIN daymill.alert_channels AS c
WHERE a.ended_at IS NULL AND a.told_at IS NOT NULL AND a.seen_at = now() AND (c.level = 'wait' OR a.level = 'bad')
ON CONFLICT (channel, alert, event) DO NOTHING;

-- name: AlertForget :exec
-- Forgets findings that were gone before people were told.
DELETE FROM daymill.alerts WHERE ended_at IS NULL AND told_at IS NULL AND seen_at < now() AND seen_at <= now() - @lasting::interval;

-- name: AlertEnd :exec
-- Ends alerts whose findings are gone, and tells those who were told of them.
WITH ended AS (
    UPDATE daymill.alerts AS a SET ended_at = now()
    WHERE a.ended_at IS NULL AND a.told_at IS NOT NULL AND a.seen_at < now() AND a.seen_at <= now() - @lasting::interval
    RETURNING a.id
)
INSERT INTO daymill.alert_messages (channel, alert, event)
SELECT m.channel, m.alert, 'close' FROM daymill.alert_messages AS m INNER JOIN ended AS e ON e.id = m.alert WHERE m.event = 'open'
ON CONFLICT (channel, alert, event) DO NOTHING;

-- name: AlertPrune :exec
DELETE FROM daymill.alerts AS a WHERE a.ended_at < now() - interval '30 days';

-- name: AlertTestPrune :exec
DELETE FROM daymill.alert_messages AS m WHERE m.event = 'test' AND m.created_at < now() - interval '30 days';

-- name: AlertClaim :one
-- Takes the message that has been due the longest, of the channels that this process can send to. Who takes it must record the outcome within
-- the lease, or the message is due again. It is well again is only sent after what was wrong.
UPDATE daymill.alert_messages AS m SET attempts = m.attempts + 1, due_at = now() + @lease::interval
WHERE m.id = (
    SELECT q.id FROM daymill.alert_messages AS q
    WHERE q.channel = any(@channels::text[]) AND q.sent_at IS NULL AND q.failed_at IS NULL AND q.due_at <= now()
        AND NOT (q.event = 'close' AND EXISTS (
            SELECT FROM daymill.alert_messages AS e
            WHERE e.channel = q.channel AND e.alert = q.alert AND e.event = 'open' AND e.sent_at IS NULL AND e.failed_at IS NULL))
    ORDER BY q.due_at, q.id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING m.id::text AS id, m.channel, m.alert, m.event, m.attempts, m.created_at;

-- name: AlertGet :one
SELECT a.id, a.finding, a.level, a.sentence, a.command, a.path, a.began_at, a.ended_at FROM daymill.alerts AS a WHERE a.id = @id;

-- name: AlertSent :execrows
UPDATE daymill.alert_messages SET sent_at = now(), error = '' WHERE id = cast(@id::text AS uuid) AND attempts = @attempts AND sent_at IS NULL AND failed_at IS NULL;

-- name: AlertFailed :execrows
-- Records why an attempt failed. After a day, the message is given up.
UPDATE daymill.alert_messages AS m
SET error = @error, due_at = now() + @after::interval,
    failed_at = CASE WHEN m.event = 'test' OR m.created_at < now() - @patience::interval THEN now() END
WHERE m.id = cast(@id::text AS uuid) AND m.attempts = @attempts AND m.sent_at IS NULL AND m.failed_at IS NULL;

-- name: AlertChannelLock :one
SELECT c.name FROM daymill.alert_channels AS c WHERE c.name = @name FOR UPDATE;

-- name: AlertTestInsert :one
-- Takes a test of a channel, unless there was one a moment ago.
INSERT INTO daymill.alert_messages (channel, event, attempts, due_at)
SELECT cast(@channel AS text), 'test', 1, now() + @lease::interval
WHERE NOT EXISTS (SELECT FROM daymill.alert_messages AS m WHERE m.channel = @channel AND m.event = 'test' AND m.created_at > now() - @pause::interval)
RETURNING id::text AS id, created_at;

-- name: AlertChannelList :many
SELECT c.name, c.kind, c.settings, c.level, c.created_at,
    coalesce(s.sent_at, 'epoch')::timestamptz AS sent_at, coalesce(q.waiting, 0)::bigint AS waiting,
    coalesce(q.oldest, 'epoch')::timestamptz AS oldest, coalesce(l.error, '')::text AS error, l.failed_at
FROM daymill.alert_channels AS c
LEFT JOIN LATERAL (
    SELECT max(m.sent_at) AS sent_at FROM daymill.alert_messages AS m WHERE m.channel = c.name
) AS s ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS waiting, min(m.created_at) AS oldest FROM daymill.alert_messages AS m
    WHERE m.channel = c.name AND m.sent_at IS NULL AND m.failed_at IS NULL
) AS q ON true
LEFT JOIN LATERAL (
    SELECT m.error, m.failed_at FROM daymill.alert_messages AS m
    WHERE m.channel = c.name AND m.error <> '' AND (m.failed_at IS NULL OR s.sent_at IS NULL OR m.failed_at > s.sent_at)
    ORDER BY m.created_at DESC LIMIT 1
) AS l ON true
ORDER BY c.name
LIMIT @max_rows;

-- name: AlertChannelPut :execrows
-- Adds a channel or changes it. It returns no row if nothing has changed.
INSERT INTO daymill.alert_channels AS c (name, kind, settings, level) VALUES (@name, @kind, @settings, @level)
ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, settings = excluded.settings, level = excluded.level
WHERE c.kind <> excluded.kind OR c.settings <> excluded.settings OR c.level <> excluded.level;

-- name: AlertChannelRemove :many
DELETE FROM daymill.alert_channels AS c WHERE NOT c.name = any(@kept::text[]) RETURNING c.name;

-- name: AlertList :many
-- The alerts that people were told of, those that last first.
SELECT a.id, a.finding, a.level, a.sentence, a.command, a.path, a.began_at, a.ended_at
FROM daymill.alerts AS a WHERE a.told_at IS NOT NULL
ORDER BY a.ended_at IS NOT NULL, a.ended_at DESC, a.began_at DESC, a.id DESC
LIMIT @max_rows;

-- name: AlertMessageList :many
-- The latest messages, newest first.
SELECT m.id::text AS id, m.channel, m.event, m.created_at, m.due_at, m.attempts, m.error, m.sent_at, m.failed_at,
    coalesce(a.finding, '')::text AS finding
FROM daymill.alert_messages AS m LEFT JOIN daymill.alerts AS a ON a.id = m.alert
ORDER BY m.created_at DESC, m.id
LIMIT @max_rows;
