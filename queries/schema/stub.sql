-- Only for sqlc; no database ever runs this. It has what the queries use and sqlc does not find in the migrations: the schema, which the migration
-- runner creates, functions that migration 0004 creates with EXECUTE, and those that 0018 moves.
CREATE SCHEMA analytics;

CREATE SCHEMA capture;

CREATE SCHEMA daymill;

CREATE SCHEMA view;

CREATE SCHEMA views;

CREATE FUNCTION analytics.rescue_jobs(silence interval) RETURNS SETOF date LANGUAGE sql AS $$ SELECT $$;

CREATE FUNCTION analytics.dates_with_job() RETURNS SETOF date LANGUAGE sql AS $$ SELECT $$;

CREATE FUNCTION analytics.dates_to_enqueue(at_instant timestamptz, rests double precision, silence interval, max_rows integer)
RETURNS TABLE (metric_date date, priority smallint) LANGUAGE sql AS $$ SELECT $$;

CREATE FUNCTION analytics.promote_jobs(at_instant timestamptz, silence interval) RETURNS SETOF date LANGUAGE sql AS $$ SELECT $$;

CREATE FUNCTION analytics.touch_jobs(silence interval, older interval) RETURNS SETOF date LANGUAGE sql AS $$ SELECT $$;

CREATE FUNCTION daymill.right_jobs() RETURNS SETOF bigint LANGUAGE sql AS $$ SELECT $$;

CREATE FUNCTION daymill.job_words(typed text) RETURNS tsquery LANGUAGE sql AS $$ SELECT $$;

CREATE FUNCTION daymill.life() RETURNS text LANGUAGE sql AS $$ SELECT $$;

CREATE FUNCTION capture.rescue_jobs(process text, silence interval) RETURNS bigint LANGUAGE sql AS $$ SELECT $$;
