-- name: DateBounds :one
-- The instants a date begins and ends in the reporting zone.
SELECT
    analytics.date_start(@metric_date) AS from_instant,
    analytics.date_start(@next_date) AS to_instant,
    (analytics.date_start(@next_date) <= clock_timestamp())::boolean AS over;

-- name: DateOf :one
-- The date an instant belongs to in the reporting zone.
SELECT analytics.date_of(@at_instant)::date AS metric_date;

-- name: DateServer :one
-- When the server was started. An older copy of the data directory can replace it only while it is stopped.
SELECT pg_postmaster_start_time()::timestamptz AS started_at;

-- name: DateTake :one
-- What a run looks at before it begins and, if the date is over and has a request that is due, the date as its last run left it, locked until
-- the transaction ends, and whether metrics are partitioned, and may be distributed by Citus; a date without runs gets a row. Any other date is not locked, because an active run
-- may hold it for a moment.
WITH look AS MATERIALIZED (
    SELECT
        analytics.date_start(@metric_date::date) AS from_instant,
        analytics.date_start(@next_date::date) AS to_instant,
        EXISTS(
            SELECT FROM analytics.rollup_requests AS q
            WHERE q.metric_date = @metric_date::date AND q.resolved_at IS NULL AND q.due_at <= now()
        ) AS requested,
        -- As SourceExists and SourceSwapped have it.
        (
            EXISTS(
                SELECT FROM pg_catalog.pg_rewrite AS r
                INNER JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                LEFT JOIN pg_catalog.pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
                WHERE r.ev_class = to_regclass('analytics.events')
                    AND (
                        d.refclassid = 'pg_proc'::regclass
                        OR (c.oid <> r.ev_class AND c.relkind IN ('r', 'p', 'v', 'm', 'f'))
                    )
            )
            AND NOT EXISTS(
                SELECT FROM analytics.source AS s
                INNER JOIN pg_catalog.pg_class AS c ON c.oid = s.table_id
                INNER JOIN pg_catalog.pg_namespace AS m ON m.nspname = s.table_schema
                INNER JOIN pg_catalog.pg_class AS k ON k.relnamespace = m.oid AND k.relname = s.table_name
                WHERE c.oid <> k.oid AND EXISTS(
                    SELECT FROM pg_catalog.pg_rewrite AS r
                    INNER JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                    WHERE r.ev_class = to_regclass('analytics.events') AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                )
            )
        ) AS sound
),

taken AS (
    INSERT INTO analytics.rollup_dates AS d (metric_date, state, run_id, scan_run_id)
    SELECT
        @metric_date::date,
        'interrupted',
        0,
        0
    FROM look AS l
    WHERE l.requested AND l.to_instant <= clock_timestamp()
    -- It changes nothing, and locks the row.
    ON CONFLICT (metric_date) DO UPDATE SET heartbeat_at = d.heartbeat_at
    RETURNING d.state, d.run_id, d.scan_run_id, d.cursor, d.cursor_events, d.cursor_entities, d.heartbeat_at, d.token, d.life, d.completed_at,
    d.events, d.entities
)

SELECT
    l.from_instant,
    l.to_instant,
    (l.to_instant <= clock_timestamp())::boolean AS over,
    l.requested::boolean AS requested,
    l.sound::boolean AS sound,
    coalesce(t.state, '')::text AS state,
    coalesce(t.run_id, 0)::bigint AS run_id,
    coalesce(t.scan_run_id, 0)::bigint AS scan_run_id,
    t.cursor,
    coalesce(t.cursor_events, 0)::bigint AS cursor_events,
    coalesce(t.cursor_entities, 0)::bigint AS cursor_entities,
    t.completed_at,
    coalesce(t.events, 0)::bigint AS events,
    coalesce(t.entities, 0)::bigint AS entities,
    -- A run from before a restore of the database is fenced, and what it read may no longer exist.
    coalesce(
        t.state = 'running' AND t.heartbeat_at >= now() - @silence::interval
        AND (t.token IS NULL OR t.life = (SELECT daymill.life())), false
    )::boolean AS alive,
    coalesce(t.heartbeat_at >= now() - interval '10 minutes' AND t.life = (SELECT daymill.life()), false)::boolean AS recent,
    r.job_id,
    coalesce(r.attempt, 0)::integer AS attempt,
    coalesce(r.worker, '')::text AS worker,
    (SELECT c.relkind = 'p' FROM pg_catalog.pg_class AS c WHERE c.oid = 'analytics.daily_entity_metrics'::regclass)::boolean AS partitioned,
    (to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL)::boolean AS citus
FROM look AS l
LEFT JOIN taken AS t ON true
LEFT JOIN analytics.rollup_runs AS r ON r.id = t.run_id;

-- name: DateHeartbeat :execrows
-- The fence: gives a sign of life. It updates no row if another run has begun, or if the database is an older copy that knows less of this run
-- than the run itself. As the first statement of a transaction, it also prevents the next run from beginning before the transaction ends.
UPDATE analytics.rollup_dates
SET heartbeat_at = clock_timestamp(), beat = cast(@beat AS bigint) + 1
WHERE metric_date = @metric_date AND run_id = @run_id AND state = 'running'
    AND token = @token AND beat >= cast(@beat AS bigint) AND life = (SELECT daymill.life());

-- name: DateProgress :execrows
-- DateHeartbeat, and how far the run is.
WITH fence AS (
    UPDATE analytics.rollup_dates AS d
    SET heartbeat_at = clock_timestamp(), beat = cast(@beat AS bigint) + 1
    WHERE d.metric_date = @metric_date AND d.run_id = @run_id AND d.state = 'running'
        AND d.token = @token AND d.beat >= cast(@beat AS bigint) AND d.life = (SELECT daymill.life())
    RETURNING d.run_id
)

UPDATE analytics.rollup_runs AS r
SET
    phase = @phase,
    progress = @progress,
    events = @events,
    entities = @entities,
    rows_inserted = @rows_inserted,
    rows_updated = @rows_updated,
    rows_deleted = @rows_deleted,
    passes = @passes,
    slices = @slices,
    batches = @batches,
    longest_statement_ms = @longest_statement_ms,
    worked_ms = @worked_ms,
    paused_ms = @paused_ms
FROM fence AS f
WHERE r.id = f.run_id;

-- name: DateAdvance :execrows
-- The fence, and the cursor: everything up to the entity is published.
UPDATE analytics.rollup_dates
SET
    heartbeat_at = clock_timestamp(),
    beat = cast(@beat AS bigint) + 1,
    cursor = cast(sqlc.arg('up_to_entity')::text AS analytics.entity_id),
    cursor_events = @events,
    cursor_entities = @entities
WHERE metric_date = @metric_date AND run_id = @run_id AND state = 'running'
    AND token = @token AND beat >= cast(@beat AS bigint) AND life = (SELECT daymill.life());

-- name: DateComplete :execrows
-- The fence, and the end of the run.
UPDATE analytics.rollup_dates
SET
    state = 'complete',
    cursor = NULL,
    heartbeat_at = clock_timestamp(),
    complete_run_id = @run_id::bigint,
    completed_at = clock_timestamp(),
    events = @events::bigint,
    entities = @entities::bigint
WHERE metric_date = @metric_date AND run_id = @run_id AND state = 'running'
    AND token = @token AND beat >= cast(@beat AS bigint) AND life = (SELECT daymill.life());

-- name: DateBreakOff :exec
-- Ends a run that did not complete; no effect if another run has begun.
UPDATE analytics.rollup_dates
SET state = @state, heartbeat_at = clock_timestamp()
WHERE metric_date = @metric_date AND run_id = @run_id AND state = 'running'
    AND token = @token AND beat >= cast(@beat AS bigint) AND life = (SELECT daymill.life());

-- name: DateEvents :many
-- The events that the last completion of each date of a range counted.
SELECT
    d.metric_date,
    coalesce(d.events, 0)::bigint AS events
FROM analytics.rollup_dates AS d
WHERE d.metric_date BETWEEN @first_date::date AND @last_date::date AND d.completed_at IS NOT NULL;

-- name: DateHold :many
-- The fence, when the server was started, and the first stored rows of the date in key order; one row without an entity if there are none. It
-- returns nothing if another run has begun.
WITH fence AS (
    UPDATE analytics.rollup_dates AS d
    SET heartbeat_at = clock_timestamp(), beat = cast(@beat AS bigint) + 1
    WHERE d.metric_date = @metric_date AND d.run_id = @run_id AND d.state = 'running'
        AND d.token = @token AND d.beat >= cast(@beat AS bigint) AND d.life = (SELECT daymill.life())
    RETURNING pg_postmaster_start_time()::timestamptz AS started_at
)

SELECT
    f.started_at::timestamptz AS started_at,
    m.entity_id,
    coalesce(m.views_count, 0)::integer AS views_count,
    coalesce(m.clicks_count, 0)::integer AS clicks_count,
    coalesce(m.saves_count, 0)::integer AS saves_count,
    coalesce(m.skips_count, 0)::integer AS skips_count,
    coalesce(m.other_counts, '{}')::jsonb AS other_counts
FROM fence AS f
LEFT JOIN LATERAL (
    SELECT n.*
    FROM analytics.daily_entity_metrics AS n
    WHERE n.metric_date = @metric_date
    ORDER BY n.entity_id
    LIMIT @max_rows::integer
) AS m ON true
ORDER BY m.entity_id;

-- name: DateSettle :one
-- The end of the run of a small date: all that other runs do in several statements. It adds up what is stored, for the caller to compare before
-- it commits.
WITH stored AS (
    SELECT
        count(*) AS rows,
        coalesce(sum(m.views_count::bigint + m.clicks_count + m.saves_count + m.skips_count + o.events), 0) AS events
    FROM analytics.daily_entity_metrics AS m
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(analytics.other_count(e.value)), 0) AS events
        FROM jsonb_each(CASE jsonb_typeof(m.other_counts) WHEN 'object' THEN m.other_counts ELSE '{}' END) AS e
    ) AS o
    WHERE m.metric_date = @metric_date
),

satisfied AS (
    UPDATE analytics.rollup_requests AS q
    SET resolved_at = clock_timestamp(), resolution = 'satisfied'
    WHERE q.metric_date = @metric_date AND q.resolved_at IS NULL AND q.run_id = @run_id::bigint
    RETURNING q.id
),

completed AS (
    UPDATE analytics.rollup_dates AS d
    SET
        state = 'complete',
        cursor = NULL,
        heartbeat_at = clock_timestamp(),
        complete_run_id = @run_id::bigint,
        completed_at = clock_timestamp(),
        events = @events::bigint,
        entities = @entities::bigint
    WHERE d.metric_date = @metric_date AND d.run_id = @run_id AND d.state = 'running'
        AND d.token = @token AND d.beat >= cast(@beat AS bigint) AND d.life = (SELECT daymill.life())
    RETURNING d.run_id
),

top AS (
    INSERT INTO analytics.top_entities AS t (metric_date, top)
    VALUES (@metric_date, @top::jsonb)
    ON CONFLICT (metric_date) DO UPDATE SET top = excluded.top WHERE t.top IS DISTINCT FROM excluded.top
),

types AS (
    INSERT INTO analytics.date_types AS t (metric_date, counts)
    VALUES (@metric_date, @types::jsonb)
    ON CONFLICT (metric_date) DO UPDATE SET counts = excluded.counts WHERE t.counts IS DISTINCT FROM excluded.counts
),

run AS (
    UPDATE analytics.rollup_runs AS r
    SET
        state = 'complete',
        finished_at = clock_timestamp(),
        phase = 'settle',
        progress = 1,
        events = @events::bigint,
        entities = @entities::bigint,
        rows_inserted = @rows_inserted,
        rows_updated = @rows_updated,
        rows_deleted = @rows_deleted,
        passes = 1,
        slices = 1,
        batches = @batches,
        longest_statement_ms = @longest_statement_ms,
        worked_ms = @worked_ms,
        paused_ms = @paused_ms,
        scope = @scope
    WHERE r.id = @run_id::bigint AND r.state = 'running'
)

SELECT
    s.rows,
    least(s.events, 9223372036854775807)::bigint AS events,
    (SELECT count(*) FROM satisfied)::bigint AS satisfied,
    (SELECT count(*) FROM completed)::bigint AS completed
FROM stored AS s;
