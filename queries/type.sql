-- name: TypeForget :exec
-- Deletes the counts of a date by type, because they are no longer known.
DELETE FROM analytics.date_types WHERE metric_date = @metric_date;

-- name: TypeGet :one
SELECT t.counts FROM analytics.date_types AS t WHERE t.metric_date = @metric_date;

-- name: TypeList :many
-- The counts by type of the dates of a range that were ever complete.
SELECT
    t.metric_date,
    t.counts
FROM analytics.date_types AS t
WHERE t.metric_date BETWEEN @first_date::date AND @last_date::date;

-- name: TypeRecord :exec
-- Records the counts of a date by type; writes nothing if they have not changed.
INSERT INTO analytics.date_types AS t (metric_date, counts)
VALUES (@metric_date, @counts::jsonb)
ON CONFLICT (metric_date) DO UPDATE SET counts = excluded.counts WHERE t.counts IS DISTINCT FROM excluded.counts;
