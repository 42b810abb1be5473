-- For sqlc only; no database ever runs this. What the queries use and sqlc does not find in the migrations: the schema,
-- which the migration runner creates, and functions that migration 0004 creates through EXECUTE.
CREATE SCHEMA analytics;

CREATE FUNCTION analytics.rescue_jobs(silence interval)
RETURNS TABLE (job_id bigint, metric_date date, state text) LANGUAGE sql AS $$ SELECT $$;

CREATE FUNCTION analytics.dates_without_job(today date, silence interval)
RETURNS TABLE (metric_date date, priority smallint) LANGUAGE sql AS $$ SELECT $$;
