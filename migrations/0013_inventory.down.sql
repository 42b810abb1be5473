-- The functions as they were. Those that may not be called by everybody any more stay so: the older binary does not mind.
CREATE OR REPLACE FUNCTION analytics.request_from_job_insert() RETURNS trigger
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

CREATE OR REPLACE FUNCTION analytics.request_from_job_change() RETURNS trigger
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

CREATE OR REPLACE FUNCTION analytics.record_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- One that had not ended was deleted by somebody, which is the end of it.
        UPDATE analytics.jobs
        SET
            pruned_at = clock_timestamp(),
            changed_at = clock_timestamp(),
            state = CASE WHEN finalized_at IS NULL THEN 'cancelled' ELSE state END,
            finalized_at = coalesce(finalized_at, clock_timestamp())
        WHERE id = OLD.id;
        RETURN NULL;
    END IF;
    INSERT INTO analytics.jobs AS j (
        id, kind, metric_date, args, state, queue, priority, attempt, max_attempts, attempted_by,
        created_at, scheduled_at, attempted_at, finalized_at, errors, output
    ) VALUES (
        NEW.id, NEW.kind, analytics.job_date(NEW.args), NEW.args, NEW.state::text, NEW.queue, NEW.priority, NEW.attempt,
        NEW.max_attempts, NEW.attempted_by[array_upper(NEW.attempted_by, 1)],
        NEW.created_at, NEW.scheduled_at, NEW.attempted_at, NEW.finalized_at,
        coalesce(array_to_json(NEW.errors)::jsonb, '[]'), NEW.metadata -> 'output'
    )
    -- River's row may have been there before the copy was, or its numbers may have begun anew.
    ON CONFLICT (id) DO UPDATE SET
        kind = excluded.kind, metric_date = excluded.metric_date, args = excluded.args, state = excluded.state,
        queue = excluded.queue, priority = excluded.priority, attempt = excluded.attempt,
        max_attempts = excluded.max_attempts, attempted_by = excluded.attempted_by,
        created_at = excluded.created_at, scheduled_at = excluded.scheduled_at, attempted_at = excluded.attempted_at,
        finalized_at = excluded.finalized_at, errors = excluded.errors, output = excluded.output, pruned_at = NULL, changed_at = clock_timestamp();
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION analytics.notify_request() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF EXISTS (SELECT FROM added AS a WHERE a.requested_via <> 'watch') THEN
        PERFORM pg_notify('daymill_request', '');
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION analytics.watch_instant(relation oid, column_name text, column_number integer, zone text) RETURNS text
LANGUAGE sql STABLE
AS $$
    SELECT CASE coalesce(nullif(t.typbasetype, 0), t.oid)
        WHEN 'timestamptz'::regtype THEN format('%I', a.attname)
        WHEN 'timestamp'::regtype THEN format('(%I AT TIME ZONE %L)', a.attname, coalesce(nullif(zone, ''), 'UTC'))
    END
    FROM pg_catalog.pg_attribute AS a
    INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attname = column_name OR a.attnum = column_number)
    ORDER BY a.attname = column_name DESC
    LIMIT 1
$$;

CREATE OR REPLACE FUNCTION analytics.request_late(first_at timestamptz [], last_at timestamptz [], zone text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    local_date date;
    starts timestamptz;
    ends timestamptz;
BEGIN
    FOR i IN 1..coalesce(cardinality(first_at), 0) LOOP
        local_date := (first_at[i] AT TIME ZONE zone)::date;
        starts := local_date::timestamp AT TIME ZONE zone;
        ends := (local_date + 1)::timestamp AT TIME ZONE zone;
        IF first_at[i] < starts THEN
            PERFORM analytics.request_late(local_date - 1);
        END IF;
        IF last_at[i] >= starts AND first_at[i] < ends THEN
            PERFORM analytics.request_late(local_date);
        END IF;
        IF last_at[i] >= ends THEN
            PERFORM analytics.request_late(local_date + 1);
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION analytics.request_late(late date) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF (
        SELECT q.xmin = pg_current_xact_id()::xid AND q.requested_at >= now()
        FROM analytics.rollup_requests AS q
        WHERE q.metric_date = late AND q.resolved_at IS NULL
        ORDER BY q.id DESC
        LIMIT 1
    ) IS NOT TRUE THEN
        INSERT INTO analytics.rollup_requests (metric_date, requested_via) VALUES (late, 'watch');
    END IF;
END
$$;

-- The functions of watches leave faults here, and fail without it as those of before did; `daymill source watch` of the older
-- binary makes them again.
DROP FUNCTION analytics.settle_faults();
DROP FUNCTION analytics.watch_fault(oid, timestamptz [], timestamptz [], text);
DROP FUNCTION analytics.is_river_job(oid);
DROP TABLE analytics.watch_faults;
DROP TABLE analytics.watches;
ALTER TABLE analytics.source DROP COLUMN table_id;
