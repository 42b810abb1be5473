-- name: CallBegin :execrows
-- Remembers that a call begins; no row if its key is known.
INSERT INTO daymill.calls (actor, key, request) VALUES (@actor, @key, @request) ON CONFLICT DO NOTHING;

-- name: CallGet :one
-- The call that a user made with a key, whether it asked for the same, and whether its process must have died.
SELECT
    (c.request = @request::bytea)::boolean AS same,
    (c.status = -1 OR (c.status = 0 AND c.began_at < now() - @longest::interval))::boolean AS interrupted,
    c.status, c.media_type, c.location, c.body
FROM daymill.calls AS c
WHERE c.actor = @actor::text AND c.key = @key::text;

-- name: CallEnd :exec
-- Stores a call's answer.
UPDATE daymill.calls
SET status = @status, media_type = @media_type, location = @location, body = @body
WHERE actor = @actor AND key = @key AND status = 0;

-- name: CallForget :exec
-- Forgets a call that was refused.
DELETE FROM daymill.calls WHERE actor = @actor AND key = @key AND status = 0;

-- name: PruneCalls :execrows
-- Calls with keys, oldest first.
DELETE FROM daymill.calls
WHERE (actor, key) IN (
    SELECT
        c.actor,
        c.key
    FROM daymill.calls AS c
    WHERE c.began_at < now() - @keep::interval
    ORDER BY c.began_at
    LIMIT @max_rows::integer
);
