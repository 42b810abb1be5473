DROP FUNCTION analytics.enqueue_rollup(date, date, text, boolean);

CREATE FUNCTION analytics.enqueue_rollup(first_date date, last_date date, via text DEFAULT 'sql') RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    today date := analytics.date_of(now());
BEGIN
    IF first_date IS NULL OR last_date IS NULL OR NOT isfinite(first_date) OR NOT isfinite(last_date) THEN
        RAISE EXCEPTION 'a rollup needs a date, not %', coalesce(first_date, last_date)
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a date such as 2026-03-01.';
    ELSIF first_date < '0001-01-01' THEN
        RAISE EXCEPTION '% is before our era', first_date
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a date such as 2026-03-01.';
    ELSIF last_date < first_date THEN
        RAISE EXCEPTION 'the range %..% is reversed', first_date, last_date
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Give the earlier date first.';
    ELSIF last_date > today THEN
        RAISE EXCEPTION '% is in the future: today is % in %', last_date, today, analytics.time_zone()
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Give dates up to today.';
    ELSIF last_date - first_date >= 3660 THEN
        RAISE EXCEPTION 'the range %..% has % dates, more than 3660', first_date, last_date, last_date - first_date + 1
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Enqueue at most ten years at a time.';
    END IF;

    INSERT INTO analytics.rollup_requests (metric_date, requested_via)
    SELECT first_date + i, coalesce(via, 'sql')
    FROM generate_series(0, last_date - first_date) AS i;

    RETURN last_date - first_date + 1;
END
$$;

DROP TABLE analytics.verifications;

-- What the older schema has no word for is told in its words.
ALTER TABLE analytics.rollup_requests DROP COLUMN erase;
ALTER TABLE analytics.rollup_requests DROP CONSTRAINT rollup_requests_resolution_check;
UPDATE analytics.rollup_requests SET resolution = 'failed' WHERE resolution = 'protected';
ALTER TABLE analytics.rollup_requests ADD CONSTRAINT rollup_requests_resolution_check
CHECK (resolution IN ('satisfied', 'failed', 'cancelled'));

ALTER TABLE analytics.backfill_dates DROP CONSTRAINT backfill_dates_state_check;
UPDATE analytics.backfill_dates SET state = 'failed' WHERE state = 'protected';
ALTER TABLE analytics.backfill_dates ADD CONSTRAINT backfill_dates_state_check
CHECK (state IN ('waiting', 'requested', 'complete', 'failed', 'cancelled'));

ALTER TABLE analytics.rollup_runs DROP CONSTRAINT rollup_runs_state_check;
UPDATE analytics.rollup_runs SET state = 'failed' WHERE state = 'protected';
ALTER TABLE analytics.rollup_runs ADD CONSTRAINT rollup_runs_state_check
CHECK (state IN ('running', 'complete', 'failed', 'interrupted', 'lost', 'cancelled'));

ALTER TABLE analytics.rollup_dates DROP COLUMN verified_at;
ALTER TABLE analytics.rollup_dates DROP CONSTRAINT rollup_dates_state_check;
UPDATE analytics.rollup_dates SET state = 'complete' WHERE state IN ('stale', 'protected');
ALTER TABLE analytics.rollup_dates ADD CONSTRAINT rollup_dates_state_check
CHECK (state IN ('running', 'interrupted', 'complete', 'failed', 'cancelled'));

ALTER TABLE analytics.installation DROP COLUMN event_retention;
