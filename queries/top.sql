-- name: TopRecord :exec
-- Records the largest entities of a date; writes nothing where they are the same.
INSERT INTO analytics.top_entities AS t (metric_date, top)
VALUES (@metric_date, @top::jsonb)
ON CONFLICT (metric_date) DO UPDATE SET top = excluded.top WHERE t.top IS DISTINCT FROM excluded.top;

-- name: TopForget :exec
-- Nobody knows the largest entities of a date any more.
DELETE FROM analytics.top_entities WHERE metric_date = @metric_date;

-- name: TopGet :one
SELECT t.top FROM analytics.top_entities AS t WHERE t.metric_date = @metric_date;
