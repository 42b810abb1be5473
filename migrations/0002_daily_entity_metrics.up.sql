-- The product: one row per date and entity that has events. The primary key leads with the date, so that a date's
-- rows lie together and a run walks them in key order; the second index serves one entity over time.
CREATE TABLE analytics.daily_entity_metrics (
    entity_id analytics.entity_id NOT NULL,
    metric_date date NOT NULL,
    views_count integer NOT NULL DEFAULT 0,
    clicks_count integer NOT NULL DEFAULT 0,
    saves_count integer NOT NULL DEFAULT 0,
    skips_count integer NOT NULL DEFAULT 0,
    -- Counts by name of every other event type, so that the sum of all counts of a date is the number of its events.
    other_counts jsonb NOT NULL DEFAULT '{}',
    -- Moves only when the row's counts change.
    last_updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (metric_date, entity_id)
)
-- Room on each page for a late event's update to stay on it (HOT): neither index has to be touched.
WITH (fillfactor = 90);

CREATE INDEX daily_entity_metrics_entity ON analytics.daily_entity_metrics (entity_id, metric_date);

-- The dates whose events the live view counts itself: today, and yesterday as long as no run of it has ever completed,
-- which is so from midnight until the daily job is done. In plpgsql because the ledger comes with the next migration; with
-- the rights of Daymill's owner because whoever may read the view needs no right on the ledger.
CREATE FUNCTION analytics.live_dates() RETURNS TABLE (metric_date date, from_instant timestamptz, to_instant timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 2
AS $$
DECLARE
    today date := analytics.date_of(now());
BEGIN
    RETURN QUERY
    SELECT today - i, analytics.date_start(today - i), analytics.date_start(today - i + 1)
    FROM generate_series(0, 1) AS i
    WHERE i = 0 OR NOT EXISTS (
        SELECT FROM analytics.rollup_dates AS d WHERE d.metric_date = today - i AND d.completed_at IS NOT NULL
    );
END
$$;

-- Finished dates, and the events so far of those that are not, in the same columns. Which dates those are is asked once
-- and not for every row; the planner uses the index on the instant, and a condition on entity_id reaches both halves. One
-- on metric_date that leaves no live date reads no event.
CREATE VIEW analytics.daily_entity_metrics_live AS
SELECT
    m.entity_id,
    m.metric_date,
    m.views_count,
    m.clicks_count,
    m.saves_count,
    m.skips_count,
    m.other_counts,
    m.last_updated_at
FROM analytics.daily_entity_metrics AS m
WHERE m.metric_date < (SELECT min(l.metric_date) FROM analytics.live_dates() AS l)
UNION ALL
SELECT
    c.entity_id,
    l.metric_date,
    c.views_count,
    c.clicks_count,
    c.saves_count,
    c.skips_count,
    c.other_counts,
    now() AS last_updated_at
FROM analytics.live_dates() AS l
CROSS JOIN LATERAL (
    SELECT
        t.entity_id,
        coalesce(sum(t.events) FILTER (WHERE t.event_type = 'view'), 0)::integer AS views_count,
        coalesce(sum(t.events) FILTER (WHERE t.event_type = 'click'), 0)::integer AS clicks_count,
        coalesce(sum(t.events) FILTER (WHERE t.event_type = 'save'), 0)::integer AS saves_count,
        coalesce(sum(t.events) FILTER (WHERE t.event_type = 'skip'), 0)::integer AS skips_count,
        coalesce(
            jsonb_object_agg(t.event_type, t.events) FILTER (WHERE t.event_type NOT IN ('view', 'click', 'save', 'skip')),
            '{}'
        ) AS other_counts
    FROM (
        SELECT
            e.entity_id,
            coalesce(e.event_type, 'unknown') AS event_type,
            count(*) AS events
        FROM analytics.events AS e
        WHERE e.created_at >= l.from_instant AND e.created_at < l.to_instant AND e.entity_id IS NOT NULL
        GROUP BY e.entity_id, coalesce(e.event_type, 'unknown')
    ) AS t
    GROUP BY t.entity_id
) AS c;
