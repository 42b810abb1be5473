-- Alerts: what the verdict finds wrong for a while is sent to people, and so is that it is well again. All processes share this state, so that
-- one of them looks at a time, and each message is sent by one.

-- How to look. A row at most; without one, the defaults hold.
CREATE TABLE daymill.alert_settings (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    -- How long a finding must last before people are told, and be gone before they are told that it is well again.
    lasting interval NOT NULL DEFAULT '2 minutes' CHECK (lasting >= '0'),
    -- How long no worker may be alive before people are told.
    no_worker interval NOT NULL DEFAULT '5 minutes' CHECK (no_worker >= '2 minutes'),
    -- The address of the pages, for links; empty for none.
    pages text NOT NULL DEFAULT '',
    -- The number of the latest look. A process that is slower than the next look records nothing.
    look bigint NOT NULL DEFAULT 0,
    looked_at timestamptz NOT NULL DEFAULT now()
);

-- Where messages go. The settings have names of environment variables instead of secrets.
CREATE TABLE daymill.alert_channels (
    name text PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 63),
    kind text NOT NULL CHECK (kind IN ('webhook', 'slack', 'mail')),
    settings jsonb NOT NULL,
    level text NOT NULL DEFAULT 'wait' CHECK (level IN ('bad', 'wait')),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Findings that lasted, or are about to.
CREATE TABLE daymill.alerts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    finding text NOT NULL,
    level text NOT NULL CHECK (level IN ('bad', 'wait')),
    sentence text NOT NULL,
    command text NOT NULL DEFAULT '',
    path text NOT NULL DEFAULT '',
    began_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    told_at timestamptz,
    ended_at timestamptz
);

CREATE UNIQUE INDEX alerts_open ON daymill.alerts (finding) WHERE ended_at IS NULL;
CREATE INDEX alerts_ended ON daymill.alerts (ended_at) WHERE ended_at IS NOT NULL;

-- One message per channel and alert when it opens, and one when it closes. The id is the receiver's means to drop a repeat: a process that
-- is killed after it has sent a message and before it has recorded that leaves the message to be sent again, with the same id.
CREATE TABLE daymill.alert_messages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    channel text NOT NULL REFERENCES daymill.alert_channels (name) ON DELETE CASCADE,
    alert bigint REFERENCES daymill.alerts (id) ON DELETE CASCADE,
    event text NOT NULL CHECK (event IN ('open', 'close', 'test')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    sent_at timestamptz,
    failed_at timestamptz,
    CHECK ((alert IS NULL) = (event = 'test')),
    CHECK (sent_at IS NULL OR failed_at IS NULL)
);

CREATE UNIQUE INDEX alert_messages_once ON daymill.alert_messages (channel, alert, event);
CREATE INDEX alert_messages_due ON daymill.alert_messages (due_at) WHERE sent_at IS NULL AND failed_at IS NULL;
CREATE INDEX alert_messages_alert ON daymill.alert_messages (alert);
CREATE INDEX alert_messages_created ON daymill.alert_messages (created_at);
