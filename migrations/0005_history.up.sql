-- What people ask of the past: which jobs there were, and who did what. River prunes its rows within days, and shares
-- its tables with the application's own jobs, so the page reads a copy that has only Daymill's, with indexes for it.

-- One row per job of Daymill's, kept as River's changes; it stays when River's row goes, for as long as the ledger
-- keeps runs.
CREATE TABLE analytics.jobs (
    id bigint PRIMARY KEY,
    kind text NOT NULL,
    -- Of a rollup_day job whose arguments have one.
    metric_date date,
    args jsonb NOT NULL,
    state text NOT NULL,
    queue text NOT NULL,
    priority smallint NOT NULL,
    attempt smallint NOT NULL,
    max_attempts smallint NOT NULL,
    -- The process that tried last.
    attempted_by text,
    created_at timestamptz NOT NULL,
    scheduled_at timestamptz NOT NULL,
    attempted_at timestamptz,
    finalized_at timestamptz,
    -- River's: objects with at, attempt, error and trace, oldest first.
    errors jsonb NOT NULL DEFAULT '[]',
    output jsonb,
    -- When River's row went; NULL while it is there.
    pruned_at timestamptz,
    -- When this row was last written. What acts on many jobs leaves those alone that have changed since somebody looked.
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- For the text filter. The bound keeps hostile arguments and errors below what an index entry may hold.
    words tsvector GENERATED ALWAYS AS (
        to_tsvector('simple', left(kind || ' ' || (args::text) || ' ' || (errors::text), 20000))
    ) STORED
);

CREATE INDEX jobs_state ON analytics.jobs (state, id);
CREATE INDEX jobs_kind_state ON analytics.jobs (kind, state, id);
CREATE INDEX jobs_date ON analytics.jobs (metric_date, id) WHERE metric_date IS NOT NULL;
CREATE INDEX jobs_pruned ON analytics.jobs (finalized_at, id) WHERE pruned_at IS NOT NULL;
-- A search reads the entries that are not sorted in yet one by one, so there are few of them.
CREATE INDEX jobs_words ON analytics.jobs USING gin (words) WITH (gin_pending_list_limit = 512);

-- What somebody types into the text filter, as a query of the words: all of them, "phrases", -without, this or that. The
-- last word may be the beginning of one, if it has three letters.
CREATE FUNCTION analytics.job_words(typed text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN w.query::text ~ '[^'']{3}''$' THEN (w.query::text || ':*')::tsquery ELSE w.query END
    FROM websearch_to_tsquery('pg_catalog.simple', typed) AS w (query)
$$;

-- Keeps analytics.jobs as River's table is. A run's progress is not written here, so a job costs a write when it is
-- inserted, taken and finished.
CREATE FUNCTION analytics.record_job() RETURNS trigger
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

-- Who did what, when, and from where. Rows are only ever appended, in the transaction that did it.
CREATE TABLE analytics.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- A user of the page, or else the database's role.
    actor text NOT NULL DEFAULT session_user,
    -- web, api, cli, cron, go, sql, river, import, schedule, ...
    via text NOT NULL,
    -- A verb and its noun: `request dates`, `cancel backfill`, `retry jobs`.
    action text NOT NULL,
    -- What it was done to, as a person names it: a date, a range, a number.
    target text NOT NULL DEFAULT '',
    detail jsonb NOT NULL DEFAULT '{}'
);

CREATE INDEX audit_action ON analytics.audit (action, id);
CREATE INDEX audit_actor ON analytics.audit (actor, id);
CREATE INDEX audit_via ON analytics.audit (via, id);
CREATE INDEX audit_at ON analytics.audit (at);

-- Requests come by many ways, most of them not through a process of Daymill's; the table itself writes them down. What a
-- backfill asks for, date by date, was asked for when it was started.
CREATE FUNCTION analytics.audit_requests() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO analytics.audit (actor, via, action, target, detail)
    SELECT
        r.requested_by,
        r.requested_via,
        'request dates',
        CASE
            WHEN min(r.metric_date) = max(r.metric_date) THEN min(r.metric_date)::text
            ELSE min(r.metric_date) || '..' || max(r.metric_date)
        END,
        jsonb_build_object('dates', count(DISTINCT r.metric_date))
    FROM appended AS r
    WHERE r.backfill_id IS NULL
    GROUP BY r.requested_by, r.requested_via;
    RETURN NULL;
END
$$;

CREATE TRIGGER audit_requests
AFTER INSERT ON analytics.rollup_requests
REFERENCING NEW TABLE AS appended
FOR EACH STATEMENT EXECUTE FUNCTION analytics.audit_requests();

-- As in 0004, River's schema is known at installation only.
DO $install$
DECLARE
    river_schema text := current_setting('daymill.river_schema');
    kinds text := $kinds$('rollup_day', 'backfill', 'daily_rollup', 'prune_ledger', 'verify_dates')$kinds$;
BEGIN
    EXECUTE format($create$
        CREATE TRIGGER daymill_record_insert
        AFTER INSERT ON %1$I.river_job
        FOR EACH ROW WHEN (NEW.kind IN %2$s)
        EXECUTE FUNCTION analytics.record_job()
    $create$, river_schema, kinds);

    EXECUTE format($create$
        CREATE TRIGGER daymill_record_update
        AFTER UPDATE ON %1$I.river_job
        FOR EACH ROW WHEN (
            NEW.kind IN %2$s
            AND (NEW.state, NEW.attempt, NEW.scheduled_at, NEW.priority, NEW.errors, NEW.metadata -> 'output')
            IS DISTINCT FROM (OLD.state, OLD.attempt, OLD.scheduled_at, OLD.priority, OLD.errors, OLD.metadata -> 'output')
        )
        EXECUTE FUNCTION analytics.record_job()
    $create$, river_schema, kinds);

    EXECUTE format($create$
        CREATE TRIGGER daymill_record_delete
        AFTER DELETE ON %1$I.river_job
        FOR EACH ROW WHEN (OLD.kind IN %2$s)
        EXECUTE FUNCTION analytics.record_job()
    $create$, river_schema, kinds);
END
$install$;
