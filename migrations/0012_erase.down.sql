DROP FUNCTION analytics.other_count(jsonb);
DROP TRIGGER audit_erase ON analytics.rollup_requests;
DROP FUNCTION analytics.audit_erase();
DROP FUNCTION analytics.enqueue_erase(date, date, text);
DROP FUNCTION analytics.enqueue_rollup(date, date, text);
DROP FUNCTION analytics.check_request(date, date);
DROP FUNCTION analytics.check_via(text);
ALTER TABLE analytics.verifications DROP COLUMN events_recorded;
ALTER TABLE analytics.backfills DROP COLUMN erase;
ALTER TABLE analytics.rollup_requests DROP COLUMN may_lose;

CREATE FUNCTION analytics.enqueue_rollup(
    first_date date, last_date date, via text DEFAULT 'sql', erase boolean DEFAULT false
) RETURNS integer
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

    INSERT INTO analytics.rollup_requests (metric_date, requested_via, erase)
    SELECT first_date + i, coalesce(via, 'sql'), coalesce(erase, false)
    FROM generate_series(0, last_date - first_date) AS i;

    RETURN last_date - first_date + 1;
END
$$;
