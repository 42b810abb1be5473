-- The key that signs the cookies of those who have logged in, together with the secrets of the web processes. A row at most.
CREATE TABLE daymill.session_key (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    key bytea NOT NULL CHECK (octet_length(key) = 32)
);

INSERT INTO daymill.session_key (key) VALUES (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
