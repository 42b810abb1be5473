-- name: ReplayMark :one
-- Writes a mark, for which a follower is checked later.
INSERT INTO analytics.marks DEFAULT VALUES RETURNING token;

-- name: ReplayPosition :one
-- The end of the primary's write-ahead log, which is after everything committed so far, and the identifier of its cluster.
SELECT
    pg_current_wal_insert_lsn()::text AS position,
    daymill.life()::text AS life;

-- name: ReplayReached :one
-- Runs on a follower: whether it has replayed the log up to a position, and whether it has a mark of the primary.
SELECT
    pg_is_in_recovery() AS in_recovery,
    coalesce(pg_last_wal_replay_lsn() >= cast(@position::text AS pg_lsn), false)::boolean AS reached,
    EXISTS(SELECT FROM analytics.marks AS m WHERE m.token = @token)::boolean AS marked,
    daymill.life()::text AS life;

-- name: ReplayForget :exec
-- Deletes a mark that was seen, and old marks that were left behind.
DELETE FROM analytics.marks WHERE token = @token OR made_at < now() - interval '1 day';
