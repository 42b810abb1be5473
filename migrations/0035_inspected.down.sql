ALTER TABLE daymill.workers DROP COLUMN inspected_at;
