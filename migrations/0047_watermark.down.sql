ALTER TABLE view.task DROP COLUMN watermarks;
DROP TABLE capture.watermark;
