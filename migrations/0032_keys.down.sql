ALTER TABLE capture.log DROP COLUMN looked_up;
ALTER TABLE capture.stream DROP COLUMN keys_only;
