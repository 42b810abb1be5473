-- name: ReplayPosition :one
-- Where the write-ahead log of the primary ends: everything committed by now is before.
SELECT pg_current_wal_insert_lsn()::text;

-- name: ReplayReached :one
-- Asked on a follower: whether it has replayed the log up to a position.
SELECT
    pg_is_in_recovery() AS in_recovery,
    coalesce(pg_last_wal_replay_lsn() >= cast(@position::text AS pg_lsn), false)::boolean AS reached;
