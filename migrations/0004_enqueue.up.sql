-- The ways to ask for a rollup. All of them append to analytics.rollup_requests in the caller's transaction and touch
-- nothing else, so none waits for a worker, for another caller, or makes one wait. The functions run with the rights
-- of Daymill's owner: a role that may use the schema may enqueue, and needs no right on the ledger.

-- SELECT analytics.enqueue_rollup('2026-03-01', '2026-03-31');  returns the number of dates requested.
-- Today is accepted and waits until the date is over; later dates are refused, as are ranges beyond ten years.
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

-- SELECT analytics.enqueue_rollup('2026-03-01');
CREATE FUNCTION analytics.enqueue_rollup(metric_date date) RETURNS integer
LANGUAGE sql
AS $$ SELECT analytics.enqueue_rollup(metric_date, metric_date, 'sql') $$;

-- The date of a rollup_day job's arguments, or NULL where there is none in them: the worker cancels such a job with
-- the reason, which an application's transaction should not have to fail for.
CREATE FUNCTION analytics.job_date(args jsonb) RETURNS date
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    IF args ->> 'date' ~ '^\d{4}-\d{2}-\d{2}$' AND args ->> 'date' >= '0001' THEN
        RETURN to_date(args ->> 'date', 'YYYY-MM-DD');
    END IF;
    RETURN NULL;
EXCEPTION WHEN datetime_field_overflow THEN
    RETURN NULL;
END
$$;

-- A plain River insert of kind rollup_day, by any client in any language, is a request as well. River skips an insert
-- as a duplicate while a job of that date is there, even one that is running and may have passed the entity already;
-- a BEFORE INSERT trigger runs before the conflict is found, so the request is appended all the same. Jobs that
-- Daymill makes of requests carry {"daymill": …} in their metadata and are none.
CREATE FUNCTION analytics.request_from_job_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job_date date := analytics.job_date(NEW.args);
BEGIN
    IF NEW.state::text = 'pending' THEN
        -- Its wish is made when somebody releases it, and only then. It is no duplicate of anything until then: it has to
        -- be there to be released, and must not keep its date from getting another job, perhaps for ever.
        NEW.unique_key := NULL;
    ELSIF job_date IS NOT NULL THEN
        -- A job may be scheduled for later, and be of a date that is not over. The request waits for both.
        INSERT INTO analytics.rollup_requests (metric_date, requested_via, due_at)
        VALUES (job_date, 'river', greatest(now(), NEW.scheduled_at));
    END IF;
    -- Nobody else could work the job, and in a queue of its own it would keep the date from getting another.
    NEW.queue := 'daymill';
    RETURN NEW;
END
$$;

-- What dashboards do to a job is a wish about its date: a retry of a finished job asks again, as does the release of a
-- pending job and the early start of a scheduled one; and a job that was cancelled, discarded after its last attempt, or
-- deleted takes the date's open requests with it, but for those that wait for longer than the job would have. A request
-- that no run has claimed yet survives a discarded job, for its events came after the attempts that failed.
CREATE FUNCTION analytics.request_from_job_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job_date date := analytics.job_date(OLD.args);
    was_open boolean := OLD.state::text NOT IN ('cancelled', 'completed', 'discarded', 'pending');
    outcome text;
    resolved bigint;
BEGIN
    IF TG_OP = 'DELETE' THEN
        outcome := CASE WHEN was_open THEN 'cancelled' END;
    ELSIF was_open AND NEW.state::text = 'cancelled' THEN
        outcome := 'cancelled';
    ELSIF was_open AND NEW.state::text = 'discarded' THEN
        outcome := 'failed';
    ELSIF job_date IS NOT NULL AND NEW.state::text IN ('available', 'scheduled') AND (
        NOT was_open
        -- Somebody has it start before its time. What analytics.promote_jobs promotes carries the mark.
        OR OLD.state::text = 'scheduled' AND OLD.scheduled_at > now() AND NOT NEW.metadata ? 'daymill'
    ) THEN
        INSERT INTO analytics.rollup_requests (metric_date, requested_via, due_at)
        VALUES (job_date, 'river', greatest(now(), NEW.scheduled_at));
    END IF;

    IF outcome IS NOT NULL THEN
        UPDATE analytics.rollup_requests
        SET resolved_at = now(), resolution = outcome
        WHERE metric_date = job_date AND resolved_at IS NULL AND due_at <= greatest(now(), OLD.scheduled_at)
            AND (outcome = 'cancelled' OR run_id IS NOT NULL);
        GET DIAGNOSTICS resolved = ROW_COUNT;

        -- A run of this job that is still at work was lost with its worker, or else is fenced by this.
        UPDATE analytics.rollup_dates
        SET state = outcome
        WHERE metric_date IN (
            SELECT d.metric_date
            FROM analytics.rollup_dates AS d
            WHERE d.metric_date = job_date AND (
                d.state IN ('interrupted', 'failed')
                -- What was asked for may be missing from it: not complete any more, so the daily job asks again.
                OR d.state = 'complete' AND resolved > 0
                OR d.state = 'running' AND EXISTS (
                    SELECT FROM analytics.rollup_runs AS n WHERE n.id = d.run_id AND n.job_id = OLD.id
                )
            )
            FOR UPDATE SKIP LOCKED
        );

        UPDATE analytics.rollup_runs
        SET state = 'lost', finished_at = clock_timestamp(), error = 'its worker gave no sign of life'
        WHERE metric_date = job_date AND job_id = OLD.id AND state = 'running';

        -- A run that was stopped because its job was cancelled.
        UPDATE analytics.rollup_runs AS r
        SET state = 'cancelled'
        FROM analytics.rollup_dates AS d
        WHERE outcome = 'cancelled' AND d.metric_date = job_date AND r.id = d.run_id AND r.job_id = OLD.id
            AND r.state = 'interrupted';
    END IF;
    RETURN NULL;
END
$$;

-- Jobs of dead workers. River itself never rescues a rollup_day job, which has no timeout; it lives as long as its run
-- gives signs of life in the ledger. One without any for `silence` goes back to the queue, is discarded after its last
-- attempt, or cancelled where somebody has asked for that. A row that an application's transaction has locked is left for the next look.
--
-- This function and the next three are the only ones that read River's tables. Their text is made here because River's
-- schema is known at installation only, and as text it keeps no migration of River's from changing a column.
DO $install$
DECLARE
    river_schema text := current_setting('daymill.river_schema');
BEGIN
    EXECUTE format($create$
        CREATE FUNCTION analytics.rescue_jobs(silence interval)
        RETURNS SETOF date
        LANGUAGE sql
        AS $$
            UPDATE %1$I.river_job AS j
            SET
                state = dead.state::%1$I.river_job_state,
                finalized_at = CASE WHEN dead.state <> 'available' THEN now() END,
                scheduled_at = now(),
                errors = array_append(j.errors, jsonb_build_object(
                    'at', now(), 'attempt', j.attempt, 'trace', '',
                    'error', 'its worker gave no sign of life for ' || silence || ' and is taken for dead'
                ))
            FROM (
                SELECT
                    r.id,
                    analytics.job_date(r.args) AS metric_date,
                    CASE
                        WHEN r.metadata ? 'cancel_attempted_at' THEN 'cancelled'
                        WHEN r.attempt >= r.max_attempts THEN 'discarded'
                        ELSE 'available'
                    END AS state
                FROM %1$I.river_job AS r
                WHERE r.state = 'running' AND r.kind = 'rollup_day' AND r.attempted_at < now() - silence
                    AND NOT EXISTS (
                        SELECT FROM analytics.rollup_dates AS d
                        INNER JOIN analytics.rollup_runs AS n ON n.id = d.run_id
                        WHERE d.metric_date = analytics.job_date(r.args) AND d.heartbeat_at >= now() - silence
                            AND n.job_id = r.id AND n.attempt = r.attempt
                    )
                FOR UPDATE OF r SKIP LOCKED
            ) AS dead
            WHERE j.id = dead.id
            RETURNING dead.metric_date
        $$
    $create$, river_schema);

    -- Where a client of the application's own is the elected leader, its rescuer takes jobs for stuck by their attempted_at,
    -- an hour old by default, and discards those of kinds it does not know. The jobs of long runs say that they are alive,
    -- no later than their runs do in the ledger, so that analytics.rescue_jobs waits no longer for it.
    EXECUTE format($create$
        CREATE FUNCTION analytics.touch_jobs(silence interval, older interval)
        RETURNS SETOF date
        LANGUAGE sql
        AS $$
            UPDATE %1$I.river_job AS j
            SET attempted_at = alive.heartbeat_at
            FROM (
                SELECT
                    r.id,
                    d.metric_date,
                    d.heartbeat_at
                FROM analytics.rollup_dates AS d
                INNER JOIN analytics.rollup_runs AS n ON n.id = d.run_id
                INNER JOIN %1$I.river_job AS r ON r.id = n.job_id AND r.attempt = n.attempt
                WHERE d.state = 'running' AND d.heartbeat_at >= now() - silence
                    AND r.kind = 'rollup_day' AND r.state = 'running' AND r.attempted_at < d.heartbeat_at - older
                FOR UPDATE OF r SKIP LOCKED
            ) AS alive
            WHERE j.id = alive.id
            RETURNING alive.metric_date
        $$
    $create$, river_schema);

    -- Jobs that would begin later than what is asked for of their dates. River lets a date have one job at a time, so this
    -- is the job that has to serve everybody: one that is scheduled for later begins now, and one that is waiting behind
    -- others moves up. Requests that still wait stay open, and get a job of their own when they are due.
    --
    -- A job between two attempts keeps its backoff, which protects whatever is broken. If somebody has requested the date since
    -- the last attempt began (priority 1: neither the schedule nor a backfill), the cause may be fixed, or the new events may
    -- fix it. Then the job begins a minute after that attempt, once for all these requests. The attempt is on top of those that
    -- the job had, so that a request never makes a date fail sooner. Both instants are of this database's clock, unlike those
    -- in the job's errors.
    EXECUTE format($create$
        CREATE FUNCTION analytics.promote_jobs(at_instant timestamptz, silence interval)
        RETURNS SETOF date
        LANGUAGE sql
        AS $$
            UPDATE %1$I.river_job AS j
            SET
                state = 'available',
                scheduled_at = CASE WHEN late.begins THEN now() ELSE j.scheduled_at END,
                priority = least(j.priority, late.priority),
                max_attempts = CASE WHEN late.begins AND j.attempt > 0 THEN least(j.max_attempts + 1, 32000) ELSE j.max_attempts END,
                -- Not a wish of the job's own: see analytics.request_from_job_change.
                metadata = j.metadata || '{"daymill": "promoted"}'
            FROM (
                SELECT
                    r.id,
                    due.metric_date,
                    due.priority,
                    b.begins
                FROM (
                    SELECT
                        q.metric_date,
                        min(q.priority) AS priority,
                        max(greatest(q.requested_at, q.due_at)) FILTER (WHERE q.priority = 1) AS asked_at
                    FROM analytics.rollup_requests AS q
                    WHERE q.resolved_at IS NULL AND q.due_at <= now()
                        AND q.metric_date < (SELECT analytics.date_of(at_instant))
                        AND NOT EXISTS (
                            SELECT FROM analytics.rollup_dates AS d
                            WHERE d.metric_date = q.metric_date AND d.state = 'running' AND d.heartbeat_at >= now() - silence
                        )
                    GROUP BY q.metric_date
                ) AS due
                INNER JOIN %1$I.river_job AS r
                    ON r.kind = 'rollup_day' AND r.state IN ('available', 'retryable', 'scheduled')
                        AND analytics.job_date(r.args) = due.metric_date
                -- River calls a job that has failed available, too, where its backoff is but a second.
                CROSS JOIN LATERAL (
                    SELECT (r.state = 'scheduled' OR r.scheduled_at > now()) AND (
                        coalesce(array_upper(r.errors, 1), 0) = 0
                        OR coalesce(r.attempted_at < due.asked_at AND r.attempted_at < now() - interval '1 minute', false)
                    ) AS begins
                ) AS b
                WHERE b.begins OR r.state = 'available' AND r.priority > due.priority
                FOR UPDATE OF r SKIP LOCKED
            ) AS late
            WHERE j.id = late.id
            RETURNING late.metric_date
        $$
    $create$, river_schema);

    -- Dates that a job is there for, waiting or at work. A pending job is not: it waits for somebody to release it.
    EXECUTE format($create$
        CREATE FUNCTION analytics.dates_with_job() RETURNS SETOF date
        LANGUAGE sql STABLE
        AS $$
            SELECT analytics.job_date(j.args)
            FROM %1$I.river_job AS j
            WHERE j.kind = 'rollup_day' AND j.state IN ('available', 'retryable', 'running', 'scheduled')
                AND analytics.job_date(j.args) IS NOT NULL
        $$
    $create$, river_schema);

    EXECUTE format($create$
        CREATE TRIGGER daymill_request_insert
        BEFORE INSERT ON %1$I.river_job
        FOR EACH ROW WHEN (NEW.kind = 'rollup_day' AND NOT NEW.metadata ? 'daymill')
        EXECUTE FUNCTION analytics.request_from_job_insert()
    $create$, river_schema);

    EXECUTE format($create$
        CREATE TRIGGER daymill_request_update
        AFTER UPDATE OF state ON %1$I.river_job
        FOR EACH ROW WHEN (NEW.kind = 'rollup_day' AND NEW.state IS DISTINCT FROM OLD.state)
        EXECUTE FUNCTION analytics.request_from_job_change()
    $create$, river_schema);

    EXECUTE format($create$
        CREATE TRIGGER daymill_request_delete
        AFTER DELETE ON %1$I.river_job
        FOR EACH ROW WHEN (OLD.kind = 'rollup_day')
        EXECUTE FUNCTION analytics.request_from_job_change()
    $create$, river_schema);
END
$install$;
