-- The ledger: dates, runs, requests and backfills. River prunes its own rows within days; these stay as long as the
-- retention says, and dates stay for good.

-- One row per date that a run ever began for. Its lock serializes the runs of a date, and run_id is the fence: every
-- transaction that writes metrics first updates this row where run_id is its own, so a run that was replaced while it
-- was stuck updates no row, and stops.
CREATE TABLE analytics.rollup_dates (
    metric_date date PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('running', 'interrupted', 'complete', 'failed', 'cancelled')),
    -- The latest run: the only one that may write.
    run_id bigint NOT NULL,
    -- The run whose scan the published entities come from: it differs from run_id where a run took up the work of one
    -- that was interrupted. The requests that this date's completion satisfies are those that scan_run_id claimed.
    scan_run_id bigint NOT NULL,
    -- Entities up to here are published; NULL before the first batch. Set only while a run is under way or broke off.
    cursor analytics.entity_id,
    -- What is published up to the cursor.
    cursor_events bigint NOT NULL DEFAULT 0,
    cursor_entities bigint NOT NULL DEFAULT 0,
    -- Moves at least every few seconds while a run is alive, and tells a dead worker from a slow one.
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    -- The last completion; NULL while the date has never been complete.
    complete_run_id bigint,
    completed_at timestamptz,
    events bigint,
    entities bigint
);

-- One attempt at one date.
CREATE TABLE analytics.rollup_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    metric_date date NOT NULL,
    state text NOT NULL DEFAULT 'running'
    CHECK (state IN ('running', 'complete', 'failed', 'interrupted', 'lost', 'cancelled')),
    -- The River job and attempt it belongs to; NULL where `daymill rollup` ran it.
    job_id bigint,
    attempt integer,
    worker text NOT NULL,
    -- The run whose published entities this one did not publish again.
    resumed_run_id bigint,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    error text,
    -- Figures, brought up to date about once a second while it runs. progress goes from 0 to 1.
    phase text NOT NULL DEFAULT 'scan' CHECK (phase IN ('scan', 'publish', 'settle')),
    progress real NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    entities bigint NOT NULL DEFAULT 0,
    rows_inserted bigint NOT NULL DEFAULT 0,
    rows_updated bigint NOT NULL DEFAULT 0,
    rows_deleted bigint NOT NULL DEFAULT 0,
    passes integer NOT NULL DEFAULT 0,
    slices integer NOT NULL DEFAULT 0,
    batches integer NOT NULL DEFAULT 0,
    longest_statement_ms real NOT NULL DEFAULT 0,
    worked_ms bigint NOT NULL DEFAULT 0,
    paused_ms bigint NOT NULL DEFAULT 0
);

CREATE INDEX rollup_runs_date ON analytics.rollup_runs (metric_date, id);
CREATE INDEX rollup_runs_finished ON analytics.rollup_runs (finished_at, id);

-- A range of dates rolled up one after another, at a pace.
CREATE TABLE analytics.backfills (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'complete', 'cancelled')),
    first_date date NOT NULL,
    last_date date NOT NULL CHECK (last_date >= first_date),
    newest_first boolean NOT NULL DEFAULT false,
    -- Whether dates that were complete when it started are taken too.
    every_date boolean NOT NULL DEFAULT false,
    -- How many of its dates may be requested or running at a time, over all workers together.
    in_flight integer NOT NULL DEFAULT 1 CHECK (in_flight BETWEEN 1 AND 100),
    -- How long to wait after a date has finished before the next is requested.
    pause_ms bigint NOT NULL DEFAULT 0 CHECK (pause_ms >= 0),
    -- The River job that asked for it, so that a repeated attempt of the job starts no second backfill.
    job_id bigint UNIQUE,
    requested_by text NOT NULL DEFAULT session_user,
    requested_via text NOT NULL DEFAULT 'sql',
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    last_finished_at timestamptz,
    finished_at timestamptz
);

CREATE INDEX backfills_open ON analytics.backfills (id) WHERE state IN ('running', 'paused');

CREATE TABLE analytics.backfill_dates (
    backfill_id bigint NOT NULL REFERENCES analytics.backfills ON DELETE CASCADE,
    metric_date date NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'requested', 'complete', 'failed', 'cancelled')),
    requested_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (backfill_id, metric_date)
);

CREATE INDEX backfill_dates_open ON analytics.backfill_dates (backfill_id, metric_date)
WHERE state IN ('waiting', 'requested');

-- The wish that a date be rolled up after what is committed by now. Rows are appended, claimed by the run that will
-- have seen everything committed before them, and resolved when that run settles: nobody who appends one ever waits
-- for a worker, and no worker for an open transaction that has appended one.
CREATE TABLE analytics.rollup_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    metric_date date NOT NULL CHECK (metric_date BETWEEN '0001-01-01' AND '9999-12-31'),
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Until when it waits: a River job scheduled for later wants what is committed by then, not by now. Beside that, every
    -- request waits until its date is over. Not clock_timestamp(): a request is due for whoever sees it.
    due_at timestamptz NOT NULL DEFAULT now(),
    requested_by text NOT NULL DEFAULT session_user,
    requested_via text NOT NULL DEFAULT 'sql',
    -- The priority of the River job to make of it: 1 what somebody asked for, 2 the schedule, 3 backfills.
    priority smallint NOT NULL DEFAULT 1 CHECK (priority BETWEEN 1 AND 4),
    backfill_id bigint REFERENCES analytics.backfills ON DELETE SET NULL,
    run_id bigint,
    resolved_at timestamptz,
    resolution text CHECK (resolution IN ('satisfied', 'failed', 'cancelled')),
    CHECK ((resolved_at IS NULL) = (resolution IS NULL))
);

CREATE INDEX rollup_requests_open ON analytics.rollup_requests (metric_date, id) WHERE resolved_at IS NULL;
CREATE INDEX rollup_requests_resolved ON analytics.rollup_requests (resolved_at, id) WHERE resolved_at IS NOT NULL;
CREATE INDEX rollup_requests_backfill ON analytics.rollup_requests (backfill_id) WHERE backfill_id IS NOT NULL;

-- When each periodic job last did its work, and for which instant of its schedule: River keeps that in memory only. And
-- since when somebody has paused it, if so.
CREATE TABLE analytics.schedules (
    name text PRIMARY KEY,
    last_due_at timestamptz NOT NULL,
    last_run_at timestamptz,
    paused_at timestamptz
);

-- Worker processes that were seen within a week. Each writes itself about every half minute and removes itself when it
-- stops, so that other processes know whether anybody works, and how: the page and `daymill status` have no other way
-- to know at which hour the daily job is due.
CREATE TABLE analytics.workers (
    name text PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    version text NOT NULL,
    -- How many dates it rolls up at a time.
    workers integer NOT NULL,
    pace double precision NOT NULL,
    max_entities bigint NOT NULL,
    daily_hour integer NOT NULL,
    lookback integer NOT NULL,
    retention_seconds bigint NOT NULL,
    -- Whether it reads events from a follower.
    follower boolean NOT NULL
);

-- Wakes the workers that listen; those that cannot (PgBouncer in transaction mode) look every second. Postgres sends
-- equal notifications of one transaction once.
CREATE FUNCTION analytics.notify_request() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_notify('daymill_request', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER notify_request
AFTER INSERT ON analytics.rollup_requests
FOR EACH STATEMENT EXECUTE FUNCTION analytics.notify_request();

-- The state of every date in the ledger, requests included: one row per date that has a run or an open request. Requests
-- that still wait, for their date to be over or for an instant of their own, do not change what a date is now. A run
-- that has given no sign of life for half a minute is not at work, whatever its row says.
CREATE VIEW analytics.date_states AS
SELECT
    coalesce(d.metric_date, r.metric_date) AS metric_date,
    (
        CASE
            WHEN d.state = 'running' AND d.heartbeat_at >= now() - interval '30 seconds' THEN 'running'
            WHEN r.due_requests > 0 AND d.state IN ('failed', 'interrupted', 'running') THEN 'retrying'
            WHEN r.due_requests > 0 THEN 'requested'
            WHEN d.state = 'running' THEN 'interrupted'
            WHEN d.state IS NULL THEN 'waiting'
            ELSE d.state
        END
    )::text AS state,
    d.completed_at,
    d.events,
    d.entities,
    d.run_id,
    d.heartbeat_at,
    coalesce(r.requests, 0)::bigint AS open_requests,
    -- When the first of the open requests is, or was, due.
    greatest(r.due_at, analytics.date_start(r.metric_date + 1))::timestamptz AS due_at
FROM analytics.rollup_dates AS d
FULL JOIN (
    SELECT
        q.metric_date,
        count(*) AS requests,
        count(*) FILTER (
            WHERE q.due_at <= now() AND q.metric_date < (SELECT analytics.date_of(now()))
        ) AS due_requests,
        min(q.due_at) AS due_at
    FROM analytics.rollup_requests AS q
    WHERE q.resolved_at IS NULL
    GROUP BY q.metric_date
) AS r ON r.metric_date = d.metric_date;
