-- What Daymill rests on can be lost without an error: a restore leaves a trigger out, an upgrade leaves a sequence behind, a
-- function is replaced. Package inventory compares what is installed with what these migrations make. This one closes what
-- was open, and records what was not: which tables are watched.

-- A watch is known by its triggers as long as those are there. This is what is known of it once they are not.
CREATE TABLE analytics.watches (
    table_schema text NOT NULL,
    table_name text NOT NULL,
    table_id oid NOT NULL,
    time_column text NOT NULL,
    -- The zone of a timestamp without time zone; empty where the column is a timestamptz.
    time_column_zone text NOT NULL,
    function_name text NOT NULL,
    -- The text of the function as it was made, and the version of the template it was made from, as hashes.
    body_hash text NOT NULL,
    template_hash text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_schema, table_name)
);

-- The watches that are there. `daymill migrate` makes their functions from the new template.
INSERT INTO analytics.watches (
    table_schema, table_name, table_id, time_column, time_column_zone, function_name, body_hash, template_hash
)
SELECT
    n.nspname,
    c.relname,
    c.oid,
    convert_from(decode(split_part(encode(g.tgargs, 'escape'), '\000', 1), 'escape'), getdatabaseencoding()),
    split_part(encode(g.tgargs, 'escape'), '\000', 3),
    p.proname,
    md5(p.prosrc),
    ''
FROM pg_catalog.pg_trigger AS g
INNER JOIN pg_catalog.pg_proc AS p ON p.oid = g.tgfoid
INNER JOIN pg_catalog.pg_class AS c ON c.oid = g.tgrelid
INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE p.pronamespace = 'analytics'::regnamespace AND p.proname ~ '^watch_[0-9]+$' AND g.tgname = 'daymill_watch_insert'
    AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_inherits AS i
        INNER JOIN pg_catalog.pg_trigger AS x ON x.tgrelid = i.inhparent AND x.tgfoid = g.tgfoid
        WHERE i.inhrelid = g.tgrelid
    );

-- Late events that a watch could not ask for. Nothing of ours may fail an application's statement, so the trigger catches
-- whatever goes wrong and leaves a row here: a table without index, constraint, sequence or trigger, which leaves little to
-- go wrong. The reconciler asks for the dates; where even those are not known, the row stays, and doctor says so.
CREATE TABLE analytics.watch_faults (
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    table_name text NOT NULL,
    -- The first and the last instant of each date, or NULL where they are not known.
    first_at timestamptz [],
    last_at timestamptz [],
    error text NOT NULL
);

-- The table that the source was set to, by its number: a name can come to mean another table while the view reads the former.
ALTER TABLE analytics.source ADD COLUMN table_id oid;

UPDATE analytics.source
SET table_id = to_regclass(format('%I.%I', table_schema, table_name))::oid
WHERE EXISTS (
    SELECT FROM pg_catalog.pg_rewrite AS r
    INNER JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    WHERE r.ev_class = to_regclass('analytics.events') AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = to_regclass(format('%I.%I', table_schema, table_name))::oid
);

-- Appends requests for the dates from each first instant to its last: see 0006.
--
-- A date is asked for once per transaction. Which dates this transaction has asked for is in a setting of its own, which a
-- rollback to a savepoint takes back together with the requests: a look into the table would make two serializable
-- transactions that insert events of one late date conflict, though neither waits for the other.
CREATE OR REPLACE FUNCTION analytics.request_late(first_at timestamptz [], last_at timestamptz [], zone text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Dates are numbers of days here, each between commas. What another transaction has left begins with its number.
    mine text := pg_current_xact_id()::text || ':,';
    known text := coalesce(current_setting('daymill.late', true), '');
    wanted date[] := '{}';
    local_date date;
    starts timestamptz;
    ends timestamptz;
    late date;
BEGIN
    IF NOT starts_with(known, mine) OR length(known) > 4000 THEN
        known := mine;
    END IF;
    FOR i IN 1..coalesce(cardinality(first_at), 0) LOOP
        local_date := (first_at[i] AT TIME ZONE zone)::date;
        starts := local_date::timestamp AT TIME ZONE zone;
        ends := (local_date + 1)::timestamp AT TIME ZONE zone;
        FOREACH late IN ARRAY array_remove(ARRAY[
            CASE WHEN first_at[i] < starts THEN local_date - 1 END,
            CASE WHEN last_at[i] >= starts AND first_at[i] < ends THEN local_date END,
            CASE WHEN last_at[i] >= ends THEN local_date + 1 END
        ], NULL) LOOP
            IF strpos(known, ',' || (late - '2000-01-01'::date)::text || ',') = 0 THEN
                wanted := wanted || late;
                known := known || (late - '2000-01-01'::date)::text || ',';
            END IF;
        END LOOP;
    END LOOP;
    IF cardinality(wanted) > 0 THEN
        INSERT INTO analytics.rollup_requests (metric_date, requested_via)
        SELECT w.late, 'watch' FROM unnest(wanted) AS w (late);
        PERFORM set_config('daymill.late', known, true);
    END IF;
END
$$;

DROP FUNCTION analytics.request_late(date);

CREATE FUNCTION analytics.watch_fault(
    relation oid, first_at timestamptz [], last_at timestamptz [], message text
) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO analytics.watch_faults (table_name, first_at, last_at, error)
    SELECT relation::regclass::text, $2, $3, message
    -- Where not even the dates are known, as where the column is gone, every statement comes here. One row says it all.
    WHERE $2 IS NOT NULL OR NOT EXISTS (
        SELECT FROM analytics.watch_faults AS f WHERE f.table_name = relation::regclass::text AND f.first_at IS NULL
    )
$$;

-- Asks for the dates that watches could not ask for, and returns how many faults that settles.
CREATE FUNCTION analytics.settle_faults() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    settled bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM analytics.watch_faults AS f WHERE f.first_at IS NOT NULL) THEN
        RETURN 0;
    END IF;
    WITH taken AS (
        DELETE FROM analytics.watch_faults AS f WHERE f.first_at IS NOT NULL
        RETURNING f.first_at, f.last_at
    )

    SELECT count(analytics.request_late(t.first_at, t.last_at, analytics.time_zone()) IS NULL) INTO settled FROM taken AS t;
    RETURN settled;
END
$$;

-- A timestamp near the end of time has no instant in a zone west of UTC. No date of it can be asked for.
CREATE OR REPLACE FUNCTION analytics.watch_instant(
    relation oid, column_name text, column_number integer, zone text
) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE coalesce(nullif(t.typbasetype, 0), t.oid)
        WHEN 'timestamptz'::regtype THEN format('%I', a.attname)
        WHEN 'timestamp'::regtype THEN format(
            '(CASE WHEN %1$I > ''0001-01-02'' AND %1$I < ''9999-12-30'' THEN %1$I AT TIME ZONE %2$L END)',
            a.attname, coalesce(nullif(zone, ''), 'UTC')
        )
    END
    FROM pg_catalog.pg_attribute AS a
    INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attname = column_name OR a.attnum = column_number)
    ORDER BY a.attname = column_name DESC
    LIMIT 1
$$;

-- A transaction that has notified cannot be prepared (PREPARE TRANSACTION). One that says SET LOCAL daymill.notify = off wakes
-- nobody: its requests are seen within a second.
CREATE OR REPLACE FUNCTION analytics.notify_request() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(current_setting('daymill.notify', true), '') <> 'off'
        AND EXISTS (SELECT FROM added AS a WHERE a.requested_via <> 'watch')
    THEN
        PERFORM pg_notify('daymill_request', '');
    END IF;
    RETURN NULL;
END
$$;

-- Whether a relation is River's table of jobs, with columns of built-in types but for River's own enum. The functions of
-- triggers run as Daymill's owner, and a value of somebody else's type brings somebody else's casts along: they look here
-- before they touch any, and read the enum by its output function, which is no cast.
CREATE FUNCTION analytics.is_river_job(relation oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        relation = (SELECT to_regclass(format('%I.river_job', i.river_schema))::oid FROM analytics.installation AS i)
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS a
            INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
            WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
                AND NOT (a.attname = 'state' AND t.typtype = 'e')
                AND a.attname IN (
                    'id', 'kind', 'args', 'state', 'queue', 'priority', 'attempt', 'max_attempts', 'attempted_by', 'created_at',
                    'scheduled_at', 'attempted_at', 'finalized_at', 'errors', 'metadata', 'unique_key'
                )
        )
$$;

CREATE OR REPLACE FUNCTION analytics.record_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF analytics.is_river_job(TG_RELID) IS NOT TRUE THEN
        RAISE EXCEPTION 'analytics.record_job is for the table of River''s jobs' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
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
        NEW.id, NEW.kind, analytics.job_date(NEW.args), NEW.args, format('%s', NEW.state), NEW.queue, NEW.priority, NEW.attempt,
        NEW.max_attempts, NEW.attempted_by[array_upper(NEW.attempted_by, 1)],
        NEW.created_at, NEW.scheduled_at, NEW.attempted_at, NEW.finalized_at,
        coalesce(array_to_json(NEW.errors)::jsonb, '[]'), NEW.metadata -> 'output'
    )
    -- River's row may have been there before the copy was, or its numbers may have begun again.
    ON CONFLICT (id) DO UPDATE SET
        kind = excluded.kind, metric_date = excluded.metric_date, args = excluded.args, state = excluded.state,
        queue = excluded.queue, priority = excluded.priority, attempt = excluded.attempt,
        max_attempts = excluded.max_attempts, attempted_by = excluded.attempted_by,
        created_at = excluded.created_at, scheduled_at = excluded.scheduled_at, attempted_at = excluded.attempted_at,
        finalized_at = excluded.finalized_at, errors = excluded.errors, output = excluded.output, pruned_at = NULL, changed_at = clock_timestamp();
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION analytics.request_from_job_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job_date date;
BEGIN
    IF analytics.is_river_job(TG_RELID) IS NOT TRUE THEN
        RAISE EXCEPTION 'analytics.request_from_job_insert is for the table of River''s jobs' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    job_date := analytics.job_date(NEW.args);
    IF format('%s', NEW.state) = 'pending' THEN
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
    job_date date;
    was text;
    becomes text;
    was_open boolean;
    outcome text;
    resolved bigint;
BEGIN
    IF analytics.is_river_job(TG_RELID) IS NOT TRUE THEN
        RAISE EXCEPTION 'analytics.request_from_job_change is for the table of River''s jobs' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    job_date := analytics.job_date(OLD.args);
    was := format('%s', OLD.state);
    was_open := was NOT IN ('cancelled', 'completed', 'discarded', 'pending');
    IF TG_OP <> 'DELETE' THEN
        becomes := format('%s', NEW.state);
    END IF;
    IF TG_OP = 'DELETE' THEN
        outcome := CASE WHEN was_open THEN 'cancelled' END;
    ELSIF was_open AND becomes = 'cancelled' THEN
        outcome := 'cancelled';
    ELSIF was_open AND becomes = 'discarded' THEN
        outcome := 'failed';
    ELSIF job_date IS NOT NULL AND becomes IN ('available', 'scheduled') AND (
        NOT was_open
        -- Somebody has it start before its time. What analytics.promote_jobs promotes carries the mark.
        OR was = 'scheduled' AND OLD.scheduled_at > now() AND NOT NEW.metadata ? 'daymill'
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
        -- What this transaction has asked for may be among them: see analytics.request_late.
        PERFORM set_config('daymill.late', '', true);

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

-- No function resolves a name by the caller's search_path, and none may be called by everybody but those that are meant to:
-- the ways to ask for a rollup, and what the views call with the rights of whoever reads them.
DO $pin$
DECLARE
    f record;
    worker text;
BEGIN
    FOR f IN
        SELECT
            p.oid::regprocedure AS signature,
            coalesce(array_to_string(p.proconfig, ' ') LIKE '%search_path=%', false) AS pinned,
            p.proname IN ('enqueue_rollup', 'time_zone', 'date_start', 'date_of', 'live_dates') AS public
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'analytics'::regnamespace
    LOOP
        IF NOT f.pinned THEN
            EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp', f.signature);
        END IF;
        IF NOT f.public THEN
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f.signature);
            -- Roles that work and do not own the schema go on working.
            FOR worker IN
                SELECT DISTINCT quote_ident(pg_get_userbyid(g.grantee))
                FROM pg_catalog.pg_class AS c
                CROSS JOIN LATERAL aclexplode(c.relacl) AS g
                WHERE c.oid = 'analytics.rollup_dates'::regclass AND g.privilege_type = 'UPDATE'
                    AND g.grantee NOT IN (0, c.relowner)
            LOOP
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', f.signature, worker);
            END LOOP;
        END IF;
    END LOOP;
END
$pin$;
