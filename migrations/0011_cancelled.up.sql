-- A backfill is cancelled by whoever does it: a page, a command, a statement. Those who listen to what Daymill tells listen
-- to the workers, so a worker tells of it: the first that takes note, in the transaction in which it does, and no other.
ALTER TABLE analytics.backfills ADD COLUMN cancel_told boolean NOT NULL DEFAULT false;

UPDATE analytics.backfills SET cancel_told = true WHERE state = 'cancelled';

-- Looked into every second.
CREATE INDEX backfills_untold ON analytics.backfills (id) WHERE state = 'cancelled' AND NOT cancel_told;
