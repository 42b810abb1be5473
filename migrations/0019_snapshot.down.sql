DROP FUNCTION capture.rescue_jobs(text, interval);
DROP TABLE capture.process;
ALTER TABLE capture.stream DROP COLUMN tables, DROP COLUMN url;
