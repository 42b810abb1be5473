-- A worker process may read events from several followers. It records each of them as it has last seen it: its number, how far it is
-- behind, and why runs do not read from it. A process of an earlier version reports none.
ALTER TABLE daymill.workers ADD COLUMN followers jsonb NOT NULL DEFAULT '[]';
