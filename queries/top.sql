-- name: TopRecord :exec
-- Records the largest entities of a date; writes nothing if they have not changed.
INSERT INTO analytics.top_entities AS t (metric_date, top)
VALUES (@metric_date, @top::jsonb)
ON CONFLICT (metric_date) DO UPDATE SET top = excluded.top WHERE t.top IS DISTINCT FROM excluded.top;

-- name: TopForget :exec
-- Deletes the largest entities of a date, because they are no longer known.
DELETE FROM analytics.top_entities WHERE metric_date = @metric_date;

-- name: TopGet :one
SELECT t.top FROM analytics.top_entities AS t WHERE t.metric_date = @metric_date;
