-- When a worker last compared what is installed with what should be: the others need not do that for a while.
ALTER TABLE daymill.workers ADD COLUMN inspected_at timestamptz;
