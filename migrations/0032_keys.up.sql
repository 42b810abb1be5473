-- Patterns of tables of which the triggers write only keys, in a stream of mode trigger. Their rows are looked up when the changes are
-- read, so a change has what the row is then, and says so in the log.
ALTER TABLE capture.stream ADD COLUMN keys_only text[] NOT NULL DEFAULT '{}';
ALTER TABLE capture.log ADD COLUMN looked_up boolean NOT NULL DEFAULT false;
