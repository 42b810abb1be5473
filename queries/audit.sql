-- name: AuditAppend :exec
-- Records an action; the actor is the database role if empty.
INSERT INTO daymill.audit (actor, via, action, target, detail)
VALUES (coalesce(nullif(@actor::text, ''), session_user), @via, @action, @target, @detail::jsonb);

-- name: AuditListOlder :many
-- Entries below an id, newest first. Reads at most `budget` entries of one of the filters, and returns those of them that match the others.
SELECT
    a.id, a.at, a.actor, a.via, a.action, a.target, a.detail
FROM (
    SELECT e.id, e.at, e.actor, e.via, e.action, e.target, e.detail
    FROM daymill.audit AS e
    WHERE e.id < @before_id
        AND (@action::text = '' OR e.action = @action::text)
        AND (@action::text <> '' OR @actor::text = '' OR e.actor = @actor::text)
        AND (@action::text <> '' OR @actor::text <> '' OR @via::text = '' OR e.via = @via::text)
    ORDER BY e.id DESC
    LIMIT @budget::integer
) AS a
WHERE (@actor::text = '' OR a.actor = @actor::text) AND (@via::text = '' OR a.via = @via::text)
ORDER BY a.id DESC
LIMIT @max_rows::integer;

-- name: AuditListNewer :many
-- Like AuditListOlder, above an id and oldest first.
SELECT
    a.id, a.at, a.actor, a.via, a.action, a.target, a.detail
FROM (
    SELECT e.id, e.at, e.actor, e.via, e.action, e.target, e.detail
    FROM daymill.audit AS e
    WHERE e.id > @after_id
        AND (@action::text = '' OR e.action = @action::text)
        AND (@action::text <> '' OR @actor::text = '' OR e.actor = @actor::text)
        AND (@action::text <> '' OR @actor::text <> '' OR @via::text = '' OR e.via = @via::text)
    ORDER BY e.id
    LIMIT @budget::integer
) AS a
WHERE (@actor::text = '' OR a.actor = @actor::text) AND (@via::text = '' OR a.via = @via::text)
ORDER BY a.id
LIMIT @max_rows::integer;

-- name: AuditReach :one
-- How far a list that did not fill its page has read: the id of the last entry within its budget, or 0 if there are no more.
SELECT coalesce((
    SELECT e.id
    FROM daymill.audit AS e
    WHERE e.id < @before_id
        AND (@action::text = '' OR e.action = @action::text)
        AND (@action::text <> '' OR @actor::text = '' OR e.actor = @actor::text)
        AND (@action::text <> '' OR @actor::text <> '' OR @via::text = '' OR e.via = @via::text)
    ORDER BY e.id DESC
    OFFSET @skip::integer
    LIMIT 1
), 0)::bigint AS reached;

-- name: AuditReachNewer :one
-- Like AuditReach, above an id.
SELECT coalesce((
    SELECT e.id
    FROM daymill.audit AS e
    WHERE e.id > @after_id
        AND (@action::text = '' OR e.action = @action::text)
        AND (@action::text <> '' OR @actor::text = '' OR e.actor = @actor::text)
        AND (@action::text <> '' OR @actor::text <> '' OR @via::text = '' OR e.via = @via::text)
    ORDER BY e.id
    OFFSET @skip::integer
    LIMIT 1
), 0)::bigint AS reached;

-- name: AuditWords :many
-- The first few actors, ways and actions, each found by one step in its index.
WITH RECURSIVE actors AS (
    (SELECT e.actor AS word, 1 AS n FROM daymill.audit AS e ORDER BY e.actor LIMIT 1)
    UNION ALL
    SELECT (SELECT e.actor FROM daymill.audit AS e WHERE e.actor > w.word ORDER BY e.actor LIMIT 1), w.n + 1
    FROM actors AS w WHERE w.word IS NOT NULL AND w.n < @most::integer
),

vias AS (
    (SELECT e.via AS word, 1 AS n FROM daymill.audit AS e ORDER BY e.via LIMIT 1)
    UNION ALL
    SELECT (SELECT e.via FROM daymill.audit AS e WHERE e.via > w.word ORDER BY e.via LIMIT 1), w.n + 1
    FROM vias AS w WHERE w.word IS NOT NULL AND w.n < @most::integer
),

actions AS (
    (SELECT e.action AS word, 1 AS n FROM daymill.audit AS e ORDER BY e.action LIMIT 1)
    UNION ALL
    SELECT (SELECT e.action FROM daymill.audit AS e WHERE e.action > w.word ORDER BY e.action LIMIT 1), w.n + 1
    FROM actions AS w WHERE w.word IS NOT NULL AND w.n < @most::integer
)

SELECT 'actor'::text AS kind, a.word::text AS word FROM actors AS a WHERE a.word IS NOT NULL
UNION ALL
SELECT 'via'::text, v.word::text FROM vias AS v WHERE v.word IS NOT NULL
UNION ALL
SELECT 'action'::text, c.word::text FROM actions AS c WHERE c.word IS NOT NULL;
