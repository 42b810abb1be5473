-- name: GroupTake :many
-- The dates of a group that are over, have a request that is due, and whose last run was complete and of few events, or that had no run; each
-- locked until the transaction ends. A date that somebody else has locked is left out. A date without runs gets a row.
WITH wanted AS MATERIALIZED (
    SELECT
        w.metric_date,
        analytics.date_start(w.metric_date) AS from_instant,
        analytics.date_start(w.metric_date + 1) AS to_instant
    FROM (SELECT DISTINCT unnest(@metric_dates::date[]) AS metric_date) AS w
    WHERE EXISTS (
        SELECT FROM analytics.rollup_requests AS q
        WHERE q.metric_date = w.metric_date AND q.resolved_at IS NULL AND q.due_at <= now()
    )
),

locked AS MATERIALIZED (
    SELECT d.metric_date
    FROM analytics.rollup_dates AS d
    INNER JOIN wanted AS w USING (metric_date)
    WHERE w.to_instant <= clock_timestamp() AND (d.run_id = 0 OR d.state = 'complete' AND d.events <= @most_events::bigint)
    FOR UPDATE OF d SKIP LOCKED
),

added AS (
    INSERT INTO analytics.rollup_dates AS d (metric_date, state, run_id, scan_run_id)
    SELECT
        w.metric_date,
        'interrupted',
        0,
        0
    FROM wanted AS w
    WHERE w.to_instant <= clock_timestamp()
        AND NOT EXISTS (SELECT FROM analytics.rollup_dates AS n WHERE n.metric_date = w.metric_date)
    ORDER BY w.metric_date
    ON CONFLICT (metric_date) DO NOTHING
    RETURNING d.metric_date
)

SELECT
    w.metric_date::date AS metric_date,
    w.from_instant::timestamptz AS from_instant,
    w.to_instant::timestamptz AS to_instant
FROM wanted AS w
WHERE w.metric_date IN (SELECT l.metric_date FROM locked AS l UNION ALL SELECT a.metric_date FROM added AS a)
ORDER BY w.metric_date;

-- name: GroupFacts :many
-- The requests of each date of a group that are open, visible and due, at most max_rows of each date, whether one of them needs a run of its own, and
-- the facts of ProtectionGet for them. It is another statement than GroupTake, so that it sees all that was committed before the dates were locked.
SELECT
    w.metric_date::date AS metric_date,
    coalesce(q.ids, '{}')::bigint[] AS request_ids,
    coalesce(q.special, false)::boolean AS special,
    coalesce(q.may_lose, 0)::integer AS may_lose,
    (CASE
        WHEN d.completed_at IS NOT NULL THEN d.events > 0
        ELSE analytics.has_metrics(w.metric_date)
    END)::boolean AS had_events,
    (CASE WHEN d.completed_at IS NOT NULL THEN coalesce(d.events, 0) ELSE 0 END)::bigint AS recorded,
    coalesce(analytics.date_start(w.metric_date) < cast(@at_instant AS timestamptz) - i.event_retention, false)::boolean AS beyond_retention,
    (w.metric_date < analytics.metrics_from(cast(@at_instant AS timestamptz)))::boolean AS not_kept
FROM (SELECT unnest(@metric_dates::date[]) AS metric_date) AS w
CROSS JOIN analytics.installation AS i
CROSS JOIN LATERAL (
    SELECT
        array_agg(r.id) AS ids,
        bool_or(r.erase OR r.entities IS NOT NULL) OR count(*) = @max_rows::integer AS special,
        max(CASE r.may_lose WHEN 'all' THEN 2 WHEN 'some' THEN 1 ELSE 0 END) AS may_lose
    FROM (
        SELECT
            n.id,
            n.erase,
            n.entities,
            n.may_lose
        FROM analytics.rollup_requests AS n
        WHERE n.metric_date = w.metric_date AND n.resolved_at IS NULL AND n.due_at <= now()
        LIMIT @max_rows::integer
    ) AS r
) AS q
LEFT JOIN analytics.rollup_dates AS d ON d.metric_date = w.metric_date
ORDER BY w.metric_date;

-- name: GroupEvents :many
-- The events of each date of a group one by one, at most at_most of each; the date by its place in the lists of bounds, from 0.
SELECT
    b.place::integer AS place,
    e.entity_id::analytics.entity_id AS entity_id,
    e.event_type::text AS event_type
FROM (
    SELECT
        generate_series(0, cardinality(@from_instants::timestamptz[]) - 1) AS place,
        unnest(@from_instants::timestamptz[]) AS from_instant,
        unnest(@to_instants::timestamptz[]) AS to_instant
) AS b
CROSS JOIN LATERAL (
    SELECT
        v.entity_id,
        coalesce(v.event_type, 'unknown') AS event_type
    FROM analytics.events AS v
    WHERE v.created_at >= b.from_instant
        AND v.created_at < b.to_instant
        AND v.entity_id IS NOT NULL
    LIMIT @at_most::integer
) AS e;

-- name: GroupRows :many
-- The stored rows of each date of a group in key order, at most max_rows of each.
SELECT
    w.metric_date::date AS metric_date,
    m.entity_id,
    m.views_count,
    m.clicks_count,
    m.saves_count,
    m.skips_count,
    m.other_counts
FROM (SELECT unnest(@metric_dates::date[]) AS metric_date) AS w
CROSS JOIN LATERAL (
    SELECT n.*
    FROM analytics.daily_entity_metrics AS n
    WHERE n.metric_date = w.metric_date
    ORDER BY n.entity_id
    LIMIT @max_rows::integer
) AS m
ORDER BY w.metric_date, m.entity_id;

-- name: GroupWrite :exec
-- Writes the rows of a group that differ, and deletes those whose entity no longer has events on the date: see MetricUpsert.
WITH gone AS (
    DELETE FROM analytics.daily_entity_metrics AS m
    USING (
        SELECT
            unnest(@gone_dates::date[]) AS metric_date,
            unnest(@gone_ids::text[]) AS entity_id
    ) AS r
    WHERE m.metric_date = r.metric_date
        AND m.entity_id = r.entity_id::analytics.entity_id
)

INSERT INTO analytics.daily_entity_metrics AS m
(entity_id, metric_date, views_count, clicks_count, saves_count, skips_count, other_counts)
SELECT
    r.entity_id::analytics.entity_id,
    r.metric_date,
    r.views_count,
    r.clicks_count,
    r.saves_count,
    r.skips_count,
    r.other_counts::jsonb
FROM (
    SELECT
        unnest(@metric_dates::date[]) AS metric_date,
        unnest(@entity_ids::text[]) AS entity_id,
        unnest(@views_counts::integer[]) AS views_count,
        unnest(@clicks_counts::integer[]) AS clicks_count,
        unnest(@saves_counts::integer[]) AS saves_count,
        unnest(@skips_counts::integer[]) AS skips_count,
        unnest(@other_counts::text[]) AS other_counts
) AS r
ON CONFLICT (metric_date, entity_id) DO UPDATE
    SET
        views_count = excluded.views_count,
        clicks_count = excluded.clicks_count,
        saves_count = excluded.saves_count,
        skips_count = excluded.skips_count,
        other_counts = excluded.other_counts,
        last_updated_at = excluded.last_updated_at;

-- name: GroupLeave :exec
-- Takes back the rows that GroupTake has added for dates that are not in the group after all.
DELETE FROM analytics.rollup_dates WHERE metric_date = ANY(@metric_dates::date[]) AND run_id = 0 AND state = 'interrupted';

-- name: GroupBegin :many
-- Inserts the runs of a group and gives each its date, which the transaction has locked; each claims the requests that GroupFacts has seen: see RunBegin.
WITH begun AS (
    INSERT INTO analytics.rollup_runs (metric_date, job_id, attempt, worker, life)
    SELECT
        m.metric_date,
        @job_id,
        @attempt,
        @worker,
        daymill.life()
    FROM (SELECT unnest(@metric_dates::date[]) AS metric_date) AS m
    RETURNING id, metric_date, token, life
),

taken AS (
    UPDATE analytics.rollup_dates AS d
    SET
        state = 'running',
        run_id = b.id,
        token = b.token,
        life = b.life,
        beat = 0,
        scan_run_id = b.id,
        cursor = NULL,
        cursor_events = 0,
        cursor_entities = 0,
        heartbeat_at = clock_timestamp()
    FROM begun AS b
    WHERE d.metric_date = b.metric_date
    RETURNING d.metric_date, d.run_id
),

-- It reads taken, so that a run has its date before it claims.
claimed AS (
    UPDATE analytics.rollup_requests AS q
    SET run_id = t.run_id
    FROM (SELECT unnest(@request_ids::bigint[]) AS id) AS r, taken AS t
    WHERE q.id = r.id AND t.metric_date = q.metric_date AND q.resolved_at IS NULL
    RETURNING q.metric_date
)

SELECT
    b.metric_date::date AS metric_date,
    b.id,
    b.token,
    (SELECT count(*) FROM claimed AS q WHERE q.metric_date = b.metric_date)::bigint AS claimed
FROM begun AS b
INNER JOIN taken AS t ON t.metric_date = b.metric_date
ORDER BY b.metric_date;

-- name: GroupSettle :many
-- The end of the runs of a group, as DateSettle is that of one. The runs share the time since the transaction began.
WITH counted AS MATERIALIZED (
    SELECT
        unnest(@metric_dates::date[]) AS metric_date,
        unnest(@run_ids::bigint[]) AS run_id,
        unnest(@tokens::uuid[]) AS token,
        generate_series(1, cardinality(@metric_dates::date[])) AS place,
        unnest(@events::bigint[]) AS events,
        unnest(@entities::bigint[]) AS entities,
        unnest(@rows_inserted::bigint[]) AS rows_inserted,
        unnest(@rows_updated::bigint[]) AS rows_updated,
        unnest(@rows_deleted::bigint[]) AS rows_deleted,
        unnest(@tops::text[])::jsonb AS top,
        unnest(@types::text[])::jsonb AS types
),

span AS MATERIALIZED (
    SELECT (clock_timestamp() - now()) / greatest(cardinality(@metric_dates::date[]), 1) AS share
),

-- As in MetricSums, other counts that many rows have are added up once.
stored AS (
    SELECT
        g.metric_date,
        sum(g.rows) AS rows,
        sum(g.events + g.rows * (
            SELECT coalesce(sum(analytics.other_count(o.value)), 0)
            FROM jsonb_each(CASE jsonb_typeof(g.other_counts) WHEN 'object' THEN g.other_counts ELSE '{}' END) AS o
        )) AS events
    FROM (
        SELECT
            m.metric_date,
            m.other_counts,
            count(*) AS rows,
            sum(m.views_count::bigint + m.clicks_count + m.saves_count + m.skips_count) AS events
        FROM (SELECT unnest(@metric_dates::date[]) AS metric_date) AS c
        INNER JOIN analytics.daily_entity_metrics AS m ON m.metric_date = c.metric_date
        GROUP BY m.metric_date, m.other_counts
    ) AS g
    GROUP BY g.metric_date
),

satisfied AS (
    UPDATE analytics.rollup_requests AS q
    SET resolved_at = clock_timestamp(), resolution = 'satisfied'
    FROM counted AS c
    WHERE q.metric_date = c.metric_date AND q.resolved_at IS NULL AND q.run_id = c.run_id
    RETURNING q.metric_date
),

-- It reads satisfied, so that a run has its date until the requests are satisfied.
completed AS (
    UPDATE analytics.rollup_dates AS d
    SET
        state = 'complete',
        cursor = NULL,
        heartbeat_at = clock_timestamp(),
        complete_run_id = c.run_id,
        completed_at = clock_timestamp(),
        events = c.events,
        entities = c.entities
    FROM counted AS c
    WHERE d.metric_date = c.metric_date AND d.run_id = c.run_id AND d.state = 'running'
        AND d.token = c.token AND d.beat >= cast(@beat AS bigint) AND d.life = (SELECT daymill.life())
        AND (SELECT count(*) FROM satisfied) >= 0
    RETURNING d.metric_date
),

top AS (
    INSERT INTO analytics.top_entities AS t (metric_date, top)
    SELECT c.metric_date, c.top FROM counted AS c
    ON CONFLICT (metric_date) DO UPDATE SET top = excluded.top WHERE t.top IS DISTINCT FROM excluded.top
),

types AS (
    INSERT INTO analytics.date_types AS t (metric_date, counts)
    SELECT c.metric_date, c.types FROM counted AS c
    ON CONFLICT (metric_date) DO UPDATE SET counts = excluded.counts WHERE t.counts IS DISTINCT FROM excluded.counts
),

finished AS (
    UPDATE analytics.rollup_runs AS r
    SET
        state = 'complete',
        started_at = now() + s.share * (c.place - 1),
        finished_at = now() + s.share * c.place,
        phase = 'settle',
        progress = 1,
        events = c.events,
        entities = c.entities,
        rows_inserted = c.rows_inserted,
        rows_updated = c.rows_updated,
        rows_deleted = c.rows_deleted,
        passes = 1,
        slices = 1,
        batches = least(c.rows_inserted + c.rows_updated + c.rows_deleted, 1),
        longest_statement_ms = @longest_statement_ms,
        worked_ms = @worked_ms
    FROM counted AS c
    CROSS JOIN span AS s
    WHERE r.id = c.run_id AND r.state = 'running'
)

SELECT
    c.metric_date::date AS metric_date,
    coalesce(s.rows, 0)::bigint AS rows,
    least(coalesce(s.events, 0), 9223372036854775807)::bigint AS events,
    (SELECT count(*) FROM satisfied AS q WHERE q.metric_date = c.metric_date)::bigint AS satisfied,
    (d.metric_date IS NOT NULL)::boolean AS completed
FROM counted AS c
LEFT JOIN completed AS d ON d.metric_date = c.metric_date
LEFT JOIN stored AS s ON s.metric_date = c.metric_date
ORDER BY c.metric_date;
