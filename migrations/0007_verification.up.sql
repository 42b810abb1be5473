-- Verification, and the guard against erasing metrics whose events are gone.
--
-- A rollup makes the rows of a date equal to its events, so a date whose old events an application has dropped would lose
-- its metrics to any request for it. Two things protect them: how long the application keeps its events, where somebody
-- has said so, and what the last completed run counted, where now there is no event at all.

-- How long the application keeps events; NULL where nobody has said so. It is here and not in analytics.source, since a
-- view that was written by hand has no row there.
ALTER TABLE analytics.installation ADD COLUMN event_retention interval CHECK (event_retention >= '1 day');

-- stale: a verification has found that the rows are not what the events come to. protected: the last run has refused to
-- erase the rows of events that are gone.
ALTER TABLE analytics.rollup_dates DROP CONSTRAINT rollup_dates_state_check;
ALTER TABLE analytics.rollup_dates ADD CONSTRAINT rollup_dates_state_check
CHECK (state IN ('running', 'interrupted', 'complete', 'failed', 'cancelled', 'stale', 'protected'));

-- When the date was last compared with its events, so that the periodic job finds those it has not seen for longest.
ALTER TABLE analytics.rollup_dates ADD COLUMN verified_at timestamptz;

ALTER TABLE analytics.rollup_runs DROP CONSTRAINT rollup_runs_state_check;
ALTER TABLE analytics.rollup_runs ADD CONSTRAINT rollup_runs_state_check
CHECK (state IN ('running', 'complete', 'failed', 'interrupted', 'lost', 'cancelled', 'protected'));

ALTER TABLE analytics.backfill_dates DROP CONSTRAINT backfill_dates_state_check;
ALTER TABLE analytics.backfill_dates ADD CONSTRAINT backfill_dates_state_check
CHECK (state IN ('waiting', 'requested', 'complete', 'failed', 'cancelled', 'protected'));

ALTER TABLE analytics.rollup_requests DROP CONSTRAINT rollup_requests_resolution_check;
ALTER TABLE analytics.rollup_requests ADD CONSTRAINT rollup_requests_resolution_check
CHECK (resolution IN ('satisfied', 'failed', 'cancelled', 'protected'));

-- Whether the rows are to follow the events even where those are gone: somebody has deleted them on purpose, and wants
-- them gone from the metrics as well.
ALTER TABLE analytics.rollup_requests ADD COLUMN erase boolean NOT NULL DEFAULT false;

-- One comparison of a date's rows with its events.
CREATE TABLE analytics.verifications (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    metric_date date NOT NULL,
    -- The run whose rows were compared; NULL where the date has never been complete.
    run_id bigint,
    result text NOT NULL CHECK (result IN ('exact', 'drifted', 'changed', 'protected')),
    -- Entities that have events or a row, and those of them whose row is not what was counted.
    entities bigint NOT NULL DEFAULT 0,
    drifted_entities bigint NOT NULL DEFAULT 0,
    events_counted bigint NOT NULL DEFAULT 0,
    events_stored bigint NOT NULL DEFAULT 0,
    -- Whether it has requested a rollup.
    repair boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    requested_by text NOT NULL DEFAULT session_user,
    requested_via text NOT NULL
);

CREATE INDEX verifications_date ON analytics.verifications (metric_date, id);
CREATE INDEX verifications_finished ON analytics.verifications (finished_at, id);

-- The function of 0004 with one more argument. It replaces that one: with both, a call that leaves arguments to their
-- defaults could mean either.
--
-- SELECT analytics.enqueue_rollup('2026-03-01', '2026-03-31');  returns the number of dates requested.
-- SELECT analytics.enqueue_rollup('2026-03-01', '2026-03-01', erase => true);  removes rows of events that are gone.
DROP FUNCTION analytics.enqueue_rollup(date, date, text);

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
