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

-- Finished dates and today's events so far, in the same columns. What today is, is asked once and not for every row; the
-- planner uses the index on the instant, and a condition on entity_id reaches both halves.
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
WHERE m.metric_date < (SELECT analytics.date_of(now()))
UNION ALL
SELECT
    t.entity_id,
    (SELECT analytics.date_of(now())) AS metric_date,
    coalesce(sum(t.events) FILTER (WHERE t.event_type = 'view'), 0)::integer AS views_count,
    coalesce(sum(t.events) FILTER (WHERE t.event_type = 'click'), 0)::integer AS clicks_count,
    coalesce(sum(t.events) FILTER (WHERE t.event_type = 'save'), 0)::integer AS saves_count,
    coalesce(sum(t.events) FILTER (WHERE t.event_type = 'skip'), 0)::integer AS skips_count,
    coalesce(
        jsonb_object_agg(t.event_type, t.events) FILTER (WHERE t.event_type NOT IN ('view', 'click', 'save', 'skip')),
        '{}'
    ) AS other_counts,
    now() AS last_updated_at
FROM (
    SELECT
        e.entity_id,
        coalesce(e.event_type, 'unknown') AS event_type,
        count(*) AS events
    FROM analytics.events AS e
    WHERE e.created_at >= (SELECT analytics.date_start(analytics.date_of(now())))
        AND e.created_at < (SELECT analytics.date_start(analytics.date_of(now()) + 1))
        AND e.entity_id IS NOT NULL
    GROUP BY e.entity_id, coalesce(e.event_type, 'unknown')
) AS t
GROUP BY t.entity_id;
