-- name: PaceLoad :one
-- What the server has to do besides Daymill: the sessions of others, how much WAL was written, and how much may be written per second until
-- max_wal_size forces checkpoints more often than checkpoint_warning finds right (half of max_wal_size is about what lies between two). Roles without pg_read_all_stats do not see what sessions of other roles do, nor how late standbys are.
SELECT
    a.recent, a.waiting, a.hidden,
    (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal,
    (
        pg_size_bytes(current_setting('max_wal_size')) / 2
        / coalesce(nullif(extract(epoch FROM current_setting('checkpoint_warning')::interval), 0), 30)
    )::float8 AS wal_rate,
    coalesce((SELECT extract(epoch FROM max(r.replay_lag)) FROM pg_catalog.pg_stat_replication AS r), 0)::float8 AS lag_seconds,
    extract(epoch FROM clock_timestamp() - statement_timestamp())::float8 AS took_seconds
FROM (
    SELECT
        count(*) FILTER (WHERE s.state = 'active' OR s.state_change > clock_timestamp() - interval '1 second') AS recent,
        count(*) FILTER (WHERE s.state = 'active' AND s.wait_event_type IN ('IO', 'LWLock', 'Lock', 'BufferPin')) AS waiting,
        count(*) FILTER (WHERE s.state IS NULL AND s.usesysid IS NOT NULL) AS hidden
    FROM pg_catalog.pg_stat_activity AS s
    WHERE
        s.datid IS NOT NULL AND coalesce(s.backend_type, 'client backend') = 'client backend'
        AND s.application_name NOT LIKE 'daymill%'
        -- A URL may give Daymill another name.
        AND s.application_name <> coalesce(nullif(current_setting('application_name'), ''), 'daymill') AND s.pid <> pg_backend_pid()
) AS a;
