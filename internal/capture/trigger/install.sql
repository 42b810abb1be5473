-- What trigger mode needs in the database that it reads. Two queues in rotation: writers go by "control", and the queue that
-- rests is emptied by TRUNCATE once everything in it has landed.
CREATE SCHEMA IF NOT EXISTS daymill_capture;
REVOKE ALL ON SCHEMA daymill_capture FROM PUBLIC;

CREATE SEQUENCE IF NOT EXISTS daymill_capture.seq CACHE 1;
-- Counts changes that could not be written to a queue. A sequence, since it counts also where the rest is rolled back.
CREATE SEQUENCE IF NOT EXISTS daymill_capture.failures CACHE 1;

CREATE TABLE IF NOT EXISTS daymill_capture.queue_0 (
    xid xid8 NOT NULL,
    seq bigint NOT NULL,
    root oid NOT NULL,
    op "char" NOT NULL,
    key_changed boolean NOT NULL,
    at timestamptz NOT NULL,
    key json,
    old jsonb,
    new jsonb
);
CREATE INDEX IF NOT EXISTS queue_0_read ON daymill_capture.queue_0 (xid, seq);
CREATE TABLE IF NOT EXISTS daymill_capture.queue_1 (LIKE daymill_capture.queue_0);
CREATE INDEX IF NOT EXISTS queue_1_read ON daymill_capture.queue_1 (xid, seq);

CREATE TABLE IF NOT EXISTS daymill_capture.control (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    active integer NOT NULL DEFAULT 0 CHECK (active IN (0, 1)),
    rotated_at timestamptz NOT NULL DEFAULT now(),
    -- The files of the queues as we know them: others say that somebody else has emptied them.
    file_0 oid NOT NULL,
    file_1 oid NOT NULL
);
INSERT INTO daymill_capture.control (file_0, file_1)
SELECT pg_catalog.pg_relation_filenode('daymill_capture.queue_0'), pg_catalog.pg_relation_filenode('daymill_capture.queue_1')
ON CONFLICT DO NOTHING;
