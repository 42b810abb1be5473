-- name: ReplayMark :one
-- Leaves a mark, to be looked for on a follower.
INSERT INTO analytics.marks DEFAULT VALUES RETURNING token;

-- name: ReplayPosition :one
-- Where the write-ahead log of the primary ends: everything committed by now is before. And which cluster it is.
SELECT
    pg_current_wal_insert_lsn()::text AS position,
    daymill.life()::text AS life;

-- name: ReplayReached :one
-- Asked on a follower: whether it has replayed the log up to a position, and whether a mark of the primary's is there.
SELECT
    pg_is_in_recovery() AS in_recovery,
    coalesce(pg_last_wal_replay_lsn() >= cast(@position::text AS pg_lsn), false)::boolean AS reached,
    EXISTS(SELECT FROM analytics.marks AS m WHERE m.token = @token)::boolean AS marked,
    daymill.life()::text AS life;

-- name: ReplayForget :exec
-- Deletes a mark that was seen, and those that were left behind long ago.
DELETE FROM analytics.marks WHERE token = @token OR made_at < now() - interval '1 day';
