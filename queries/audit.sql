-- name: AuditAppend :exec
-- Writes down what somebody did; the database role where the actor is empty.
INSERT INTO analytics.audit (actor, via, action, target, detail)
VALUES (coalesce(nullif(@actor::text, ''), session_user), @via, @action, @target, @detail::jsonb);
