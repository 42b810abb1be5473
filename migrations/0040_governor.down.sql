ALTER TABLE daymill.workers DROP COLUMN pace_reason;
ALTER TABLE daymill.workers DROP COLUMN current_pace;
