DROP FUNCTION capture.rescue_jobs(text, interval);
DROP TABLE capture.process;
CREATE OR REPLACE FUNCTION capture.advance(
    the_stream integer, the_token bigint, from_position bigint, to_position bigint, to_lsn text, to_seen text, to_committed timestamptz
) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    the_name text;
BEGIN
    -- What is confirmed to the source after this commit must survive a crash.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'local', true);
    END IF;
    UPDATE capture.stream AS s
    SET position = to_position, lsn = coalesce(to_lsn, s.lsn), seen = coalesce(to_seen, s.seen), beat_at = now(),
        landed_at = CASE WHEN to_position > from_position THEN now() ELSE s.landed_at END,
        committed_at = coalesce(to_committed, s.committed_at)
    WHERE s.id = the_stream AND s.token = the_token AND s.position = from_position
    RETURNING s.name INTO the_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another process owns the stream' USING ERRCODE = 'DM016';
    END IF;
    IF to_position > from_position THEN
        PERFORM pg_notify('daymill_capture', the_name);
    END IF;
END;
$$;
DROP TABLE capture.snapshot;
DROP TABLE capture.snapshot_request;
ALTER TABLE capture.log DROP COLUMN consumer;
ALTER TABLE capture.stream DROP COLUMN repair, DROP COLUMN followed, DROP COLUMN tables, DROP COLUMN url;
