-- name: RunBegin :one
-- Inserts a run and gives it the date: from now on only that run may write. Unless it resumes another one, it claims the date's requests that are
-- open, visible and due, at most max_rows of them: see RequestClaim. It returns the facts of ProtectionGet and RequestScope, for these requests.
WITH began AS (
    INSERT INTO analytics.rollup_runs (metric_date, job_id, attempt, worker, resumed_run_id, life)
    VALUES (@metric_date, @job_id, @attempt, @worker, @resumed_run_id, daymill.life())
    RETURNING id, token, life
),

taken AS (
    UPDATE analytics.rollup_dates AS d
    SET
        state = 'running',
        run_id = b.id,
        token = b.token,
        life = b.life,
        beat = 0,
        scan_run_id = coalesce(sqlc.narg('scan_run_id')::bigint, b.id),
        cursor = CASE WHEN sqlc.narg('scan_run_id')::bigint IS NULL THEN NULL ELSE d.cursor END,
        cursor_events = CASE WHEN sqlc.narg('scan_run_id')::bigint IS NULL THEN 0 ELSE d.cursor_events END,
        cursor_entities = CASE WHEN sqlc.narg('scan_run_id')::bigint IS NULL THEN 0 ELSE d.cursor_entities END,
        heartbeat_at = clock_timestamp()
    FROM began AS b
    WHERE d.metric_date = @metric_date
    RETURNING d.run_id AS id
),

-- It reads taken, so that the run has the date before it claims.
claimed AS (
    UPDATE analytics.rollup_requests AS q
    SET run_id = t.id
    FROM taken AS t
    WHERE sqlc.narg('scan_run_id')::bigint IS NULL AND q.id IN (
        SELECT r.id
        FROM analytics.rollup_requests AS r
        WHERE r.metric_date = @metric_date AND r.resolved_at IS NULL AND r.due_at <= now()
        ORDER BY r.id
        LIMIT @max_rows::integer
    )
    RETURNING q.may_lose, q.erase, q.entities
),

requested AS (
    SELECT
        count(*) AS claimed,
        coalesce(bool_or(c.erase), false) AS erase,
        coalesce(max(CASE c.may_lose WHEN 'all' THEN 2 WHEN 'some' THEN 1 ELSE 0 END), 0) AS may_lose,
        coalesce(bool_and(c.entities IS NOT NULL AND NOT c.erase AND c.may_lose = 'all'), false) AS scoped
    FROM claimed AS c
)

SELECT
    b.id,
    b.token,
    pg_postmaster_start_time()::timestamptz AS server_started_at,
    q.claimed,
    q.scoped::boolean AS scoped,
    ARRAY(SELECT DISTINCT e.id FROM claimed AS c CROSS JOIN unnest(c.entities) AS e (id) WHERE q.scoped LIMIT @most_entities::integer)::text[] AS entities,
    q.erase::boolean AS erase,
    q.may_lose::integer AS may_lose,
    (CASE
        WHEN d.completed_at IS NOT NULL THEN d.events > 0
        ELSE analytics.has_metrics(@metric_date)
    END)::boolean AS had_events,
    (CASE WHEN d.completed_at IS NOT NULL THEN coalesce(d.events, 0) ELSE 0 END)::bigint AS recorded,
    coalesce(analytics.date_start(@metric_date) < cast(@at_instant AS timestamptz) - i.event_retention, false)::boolean AS beyond_retention,
    (@metric_date < analytics.metrics_from(cast(@at_instant AS timestamptz)))::boolean AS not_kept
FROM began AS b
CROSS JOIN requested AS q
CROSS JOIN analytics.installation AS i
LEFT JOIN analytics.rollup_dates AS d ON d.metric_date = @metric_date;

-- name: RunLose :exec
-- Marks a run that gave no sign of life before another run took over its date.
UPDATE analytics.rollup_runs
SET state = 'lost', finished_at = clock_timestamp(), error = @error::text
WHERE id = @id AND state = 'running';

-- name: RunProgress :exec
UPDATE analytics.rollup_runs
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
WHERE id = @id;

-- name: RunScope :exec
-- Records for how many entities a run is.
UPDATE analytics.rollup_runs SET scope = @scope::integer WHERE id = @id;

-- name: RunFinish :exec
UPDATE analytics.rollup_runs
SET state = @state, finished_at = clock_timestamp(), error = @error
WHERE id = @id AND state = 'running';

-- name: RunRecentCost :one
-- The events and durations in seconds of the newest complete runs.
SELECT
    coalesce(sum(r.events), 0)::bigint AS events,
    coalesce(sum(extract(EPOCH FROM r.finished_at - r.started_at)), 0)::double precision AS seconds
FROM (
    SELECT
        n.events,
        n.started_at,
        n.finished_at
    FROM analytics.rollup_runs AS n
    WHERE n.state = 'complete' AND n.resumed_run_id IS NULL
    ORDER BY n.id DESC
    LIMIT 50
) AS r;

-- name: RunLost :one
-- The number of a date's runs that were lost in a row, including the newest; at most four.
SELECT count(*) FROM (
    SELECT
        r.id,
        r.state
    FROM analytics.rollup_runs AS r
    WHERE r.metric_date = @metric_date
    ORDER BY r.id DESC
    LIMIT 4
) AS l
WHERE l.state = 'lost' AND l.id > coalesce((
    SELECT max(n.id) FROM analytics.rollup_runs AS n
    WHERE n.metric_date = @metric_date AND n.state NOT IN ('lost', 'running')
), 0);
