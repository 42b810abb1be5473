-- How long a worker's runs pause now, as a multiple of a statement's time, and why. Null if its pace never changes.
ALTER TABLE daymill.workers ADD COLUMN current_pace double precision;
ALTER TABLE daymill.workers ADD COLUMN pace_reason text NOT NULL DEFAULT '';
