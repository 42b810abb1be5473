ALTER TABLE capture.stream DROP COLUMN warn_at, DROP COLUMN drop_at;
