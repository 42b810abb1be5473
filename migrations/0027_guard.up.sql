-- At how many bytes of WAL held back a stream's worker warns, and drops the slot. Both are settings of the worker and of the captured
-- database, so that pages and commands cannot know them otherwise.
ALTER TABLE capture.stream ADD COLUMN warn_at bigint, ADD COLUMN drop_at bigint;
