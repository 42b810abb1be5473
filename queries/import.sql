-- name: ImportDateStarts :many
-- The instants at which dates begin in the reporting zone, in order: the first date and as many days after it.
SELECT analytics.date_start(CAST(sqlc.arg('first_date') AS date) + i) AS start_instant
FROM generate_series(0, @days::integer) AS i
ORDER BY i;
