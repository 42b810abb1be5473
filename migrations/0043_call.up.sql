-- A call of the API whose answer was lost can be sent again with the same key. It then does nothing, and gets the same answer. A row is written
-- before a call does its work, so of two calls with a key at the same time only one does it. Rows are kept for a day.
CREATE TABLE daymill.calls (
    actor text NOT NULL,
    key text NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 200),
    -- A hash of what was asked: a key may not be used for anything else.
    request bytea NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    -- Of the answer: 0 until there is one, and -1 if nobody knows whether the call did its work.
    status integer NOT NULL DEFAULT 0,
    media_type text NOT NULL DEFAULT '',
    location text NOT NULL DEFAULT '',
    body text NOT NULL DEFAULT '',
    PRIMARY KEY (actor, key)
);

CREATE INDEX calls_began_at ON daymill.calls (began_at);
