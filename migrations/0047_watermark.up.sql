-- Watermarks that have landed: texts that somebody wrote into a source, and waits for.
CREATE TABLE capture.watermark (
    token text PRIMARY KEY,
    stream_id integer NOT NULL REFERENCES capture.stream ON DELETE CASCADE,
    landed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX watermark_stream ON capture.watermark (stream_id, landed_at);

-- The watermarks that a task wrote after it had read rows of other databases, and of which it does not know yet that they have landed.
ALTER TABLE view.task ADD COLUMN watermarks text[] NOT NULL DEFAULT '{}';
