-- name: ReplayMark :one
-- Writes a mark, for which a follower is checked later.
INSERT INTO analytics.marks DEFAULT VALUES RETURNING token;

-- name: ReplayPosition :one
-- The end of the primary's write-ahead log, which is after everything committed so far, and the identifier of its cluster.
SELECT
    pg_current_wal_insert_lsn()::text AS position,
    daymill.life()::text AS life;

-- name: ReplayReached :one
-- Runs on a follower: how many bytes it is behind a position of the primary, how old the last transaction
-- is that it has replayed, in seconds, and whether it has a mark of the primary.
SELECT
    pg_is_in_recovery() AS in_recovery,
    greatest(0, cast(@position::text AS pg_lsn) - coalesce(pg_last_wal_replay_lsn(), '0/0'))::bigint AS behind,
    coalesce(extract(EPOCH FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0)::double precision AS delay,
    EXISTS(SELECT FROM analytics.marks AS m WHERE m.token = @token)::boolean AS marked,
    daymill.life()::text AS life;

-- name: ReplayForget :exec
-- Deletes a mark that was seen, and old marks that were left behind.
DELETE FROM analytics.marks WHERE token = @token OR made_at < now() - interval '1 day';

-- name: ReplayServer :one
-- Runs on a follower: when its server was started, and whether it still follows.
SELECT
    pg_postmaster_start_time()::timestamptz AS started_at,
    pg_is_in_recovery() AS in_recovery;
