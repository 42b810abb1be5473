-- What a request may lose, and the right to erase.
--
-- An application deletes events: some because they are wrong, most because they are old. In the first case the metrics
-- should follow, in the second they should stay, for they can never be counted again. Who asks says which it is. Whoever
-- asks for one date means that date. Whatever goes over many dates means none of them, so it leaves a date alone whose
-- events are fewer than its last complete run counted.

-- all: the metrics follow the events, down to none. some: they follow as long as the date has an event. none: they follow
-- only where no event is gone since the last complete run. The setting is for a transaction that acts on many jobs: River's
-- retry of each of them would otherwise be an explicit request for its date.
ALTER TABLE analytics.rollup_requests ADD COLUMN may_lose text NOT NULL
DEFAULT CASE WHEN current_setting('daymill.sweep', true) = 'on' THEN 'none' ELSE 'all' END
CHECK (may_lose IN ('none', 'some', 'all'));

-- Whether it erases what it would otherwise leave alone.
ALTER TABLE analytics.backfills ADD COLUMN erase boolean NOT NULL DEFAULT false;

-- What the date's last complete run had counted. Fewer events now say that some are gone; other rows with as many events
-- say that somebody has edited the metrics.
ALTER TABLE analytics.verifications ADD COLUMN events_recorded bigint;

-- Says no where a caller claims a way of asking that is Daymill's own. Its owner, under which its processes run, may.
CREATE FUNCTION analytics.check_via(via text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF via IN ('api', 'backfill', 'cli', 'cron', 'import', 'job', 'reconcile', 'river', 'schedule', 'verify', 'watch', 'web')
        -- Called by a function with the owner's rights, so this is the owner.
        AND NOT pg_has_role(session_user, current_user, 'MEMBER')
    THEN
        RAISE EXCEPTION 'via % is how Daymill names a way of its own', quote_literal(via)
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave via out, or give the name of your program.';
    END IF;
END
$$;

REVOKE ALL ON FUNCTION analytics.check_via(text) FROM PUBLIC;

CREATE FUNCTION analytics.check_request(first_date date, last_date date) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
END
$$;

REVOKE ALL ON FUNCTION analytics.check_request(date, date) FROM PUBLIC;

-- The function of 0007 without erase, which is a right of its own now.
--
-- SELECT analytics.enqueue_rollup('2026-03-01', '2026-03-31');  returns the number of dates requested.
DROP FUNCTION analytics.enqueue_rollup(date, date, text, boolean);

CREATE FUNCTION analytics.enqueue_rollup(first_date date, last_date date, via text DEFAULT 'sql') RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM analytics.check_request(first_date, last_date);
    PERFORM analytics.check_via(via);

    INSERT INTO analytics.rollup_requests (metric_date, requested_via, may_lose)
    SELECT first_date + i, coalesce(via, 'sql'), CASE WHEN last_date > first_date THEN 'some' ELSE 'all' END
    FROM generate_series(0, last_date - first_date) AS i;

    RETURN last_date - first_date + 1;
END
$$;

-- Lets the metrics follow the events whatever is gone of them: beyond the retention, in a range, down to none.
--
-- SELECT analytics.enqueue_erase('2026-03-01', '2026-03-01');  removes the rows of events that are gone.
-- GRANT EXECUTE ON FUNCTION analytics.enqueue_erase(date, date, text) TO somebody;
CREATE FUNCTION analytics.enqueue_erase(first_date date, last_date date, via text DEFAULT 'sql') RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM analytics.check_request(first_date, last_date);
    PERFORM analytics.check_via(via);

    INSERT INTO analytics.rollup_requests (metric_date, requested_via, erase)
    SELECT first_date + i, coalesce(via, 'sql'), true
    FROM generate_series(0, last_date - first_date) AS i;

    RETURN last_date - first_date + 1;
END
$$;

REVOKE ALL ON FUNCTION analytics.enqueue_erase(date, date, text) FROM PUBLIC;

-- Every request to erase is in the audit, besides that the dates were requested. What it came to is written down by the
-- run. As a function with the owner's rights it does nothing but for the table it was made for.
CREATE FUNCTION analytics.audit_erase() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_RELID <> 'analytics.rollup_requests'::regclass THEN
        RAISE EXCEPTION 'this trigger is for analytics.rollup_requests';
    END IF;
    INSERT INTO analytics.audit (actor, via, action, target, detail)
    SELECT
        r.requested_by,
        r.requested_via,
        'request erasing',
        CASE
            WHEN min(r.metric_date) = max(r.metric_date) THEN min(r.metric_date)::text
            ELSE min(r.metric_date) || '..' || max(r.metric_date)
        END,
        jsonb_build_object('dates', count(DISTINCT r.metric_date))
    FROM erasing AS r
    WHERE r.erase AND r.backfill_id IS NULL
    GROUP BY r.requested_by, r.requested_via;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION analytics.audit_erase() FROM PUBLIC;

CREATE TRIGGER audit_erase
AFTER INSERT ON analytics.rollup_requests
REFERENCING NEW TABLE AS erasing
FOR EACH STATEMENT EXECUTE FUNCTION analytics.audit_erase();

-- What a row's other counts come to. Older systems have left fractions, texts and numbers beyond any count in them: what
-- is no number counts for none, a fraction for its whole part, and what is beyond for as much as fits.
CREATE FUNCTION analytics.other_count(value jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN jsonb_typeof(value) = 'number'
            THEN least(greatest(trunc(value::numeric), -9223372036854775808), 9223372036854775807)::bigint
        ELSE 0
    END
$$;

REVOKE ALL ON FUNCTION analytics.other_count(jsonb) FROM PUBLIC;
