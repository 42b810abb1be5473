-- Capture: what changes in the application's tables, in commit order, to whoever needs it.
--
-- A role that may not make schemas finds this one made by somebody who may.
DO $$
BEGIN
    IF to_regnamespace('capture') IS NULL THEN
        CREATE SCHEMA capture;
    END IF;
END
$$;

-- Consumers ---------------------------------------------------------------------------------------------------------

-- Who receives changes. The settings are those of its kind, and never hold a secret: a URL or a secret is the name of an
-- environment variable, which the worker reads.
CREATE TABLE capture.consumer (
    name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    stream text NOT NULL,
    kind text NOT NULL,
    settings jsonb NOT NULL DEFAULT '{}',
    shards integer NOT NULL DEFAULT 1 CHECK (shards BETWEEN 1 AND 64),
    paused_at timestamptz,
    paused_because text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A share of a consumer's keys, and how far it has come. The fence is the number of its last taker: whoever moves the
-- position names it, so that two jobs of one shard, one of which was taken for dead, never both do.
CREATE TABLE capture.shard (
    consumer text NOT NULL REFERENCES capture.consumer ON DELETE CASCADE,
    shard integer NOT NULL,
    position bigint NOT NULL,
    fence bigint NOT NULL DEFAULT 0,
    delivered bigint NOT NULL DEFAULT 0,
    moved_at timestamptz,
    -- Attempts in a row that have failed since the position moved, the last error, and when the next one is due.
    failures integer NOT NULL DEFAULT 0,
    error text,
    retry_at timestamptz,
    PRIMARY KEY (consumer, shard)
);

-- Dead letters: changes that a consumer refused, and those of the same key that wait behind it. As long as a key has one, it
-- is parked. The key's hash stands in for it, since a key may be longer than an index takes.
CREATE TABLE capture.letter (
    consumer text NOT NULL,
    shard integer NOT NULL,
    position bigint NOT NULL,
    key_hash bytea NOT NULL,
    key text NOT NULL,
    change json NOT NULL,
    state text NOT NULL CHECK (state IN ('refused', 'waiting')),
    reason text NOT NULL,
    answer text NOT NULL DEFAULT '',
    attempts integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Somebody wants it delivered again, by the job that holds the shard: nobody else could keep the order.
    replay_at timestamptz,
    PRIMARY KEY (consumer, position),
    FOREIGN KEY (consumer, shard) REFERENCES capture.shard ON DELETE CASCADE
);
CREATE INDEX letter_key ON capture.letter (consumer, key_hash, position);
CREATE INDEX letter_replay ON capture.letter (consumer, shard) WHERE replay_at IS NOT NULL;
