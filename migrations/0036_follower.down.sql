ALTER TABLE daymill.workers DROP COLUMN followers;
