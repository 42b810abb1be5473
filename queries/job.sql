-- name: JobCount :many
-- The number of jobs in each state, of a kind or of all, counted up to most.
SELECT
    s.state::text AS state,
    (
        SELECT count(*) FROM (
            SELECT FROM daymill.jobs AS j
            WHERE j.state = s.state AND (@kind::text = '' OR j.kind = @kind::text)
            ORDER BY j.id DESC
            LIMIT @most::integer
        ) AS c
    )::bigint AS jobs
FROM unnest(@states::text[]) AS s (state);

-- name: JobLookOlder :many
-- Reads at most `budget` jobs below an id, newest first, and returns those that match. Only ids are merged from the index of the states; rows
-- are fetched in that order until there are enough. Every row says how far the search has come; if nothing matches, there is one row without
-- an id.
WITH looked AS MATERIALIZED (
    SELECT c.id
    FROM unnest(@states::text[]) AS s (state)
    CROSS JOIN LATERAL (
        SELECT j.id FROM daymill.jobs AS j
        WHERE j.state = s.state AND (@kind::text = '' OR j.kind = @kind::text) AND j.id < @before_id
        ORDER BY j.id DESC
        LIMIT @budget::integer
    ) AS c
    ORDER BY c.id DESC
    LIMIT @budget::integer
)

SELECT
    coalesce(m.id, 0)::bigint AS id,
    coalesce(m.state, '')::text AS state,
    l.looked,
    l.reached
FROM (SELECT count(*)::bigint AS looked, coalesce(min(k.id), 0)::bigint AS reached FROM looked AS k) AS l
LEFT JOIN LATERAL (
    SELECT j.id, j.state
    FROM looked AS k
    INNER JOIN LATERAL (SELECT r.* FROM daymill.jobs AS r WHERE r.id = k.id LIMIT 1) AS j ON true
    WHERE (NOT @has_dates::boolean OR j.metric_date BETWEEN @first_date::date AND @last_date::date)
        AND (@typed::text = '' OR j.words @@ daymill.job_words(@typed::text))
        AND j.changed_at <= @changed_by::timestamptz
    LIMIT @max_rows::integer
) AS m ON true;

-- name: JobLookNewer :many
-- Like JobLookOlder, above an id and oldest first.
WITH looked AS MATERIALIZED (
    SELECT c.id
    FROM unnest(@states::text[]) AS s (state)
    CROSS JOIN LATERAL (
        SELECT j.id FROM daymill.jobs AS j
        WHERE j.state = s.state AND (@kind::text = '' OR j.kind = @kind::text) AND j.id > @after_id
        ORDER BY j.id
        LIMIT @budget::integer
    ) AS c
    ORDER BY c.id
    LIMIT @budget::integer
)

SELECT
    coalesce(m.id, 0)::bigint AS id,
    coalesce(m.state, '')::text AS state,
    l.looked,
    l.reached
FROM (SELECT count(*)::bigint AS looked, coalesce(max(k.id), 0)::bigint AS reached FROM looked AS k) AS l
LEFT JOIN LATERAL (
    SELECT j.id, j.state
    FROM looked AS k
    INNER JOIN LATERAL (SELECT r.* FROM daymill.jobs AS r WHERE r.id = k.id LIMIT 1) AS j ON true
    WHERE (NOT @has_dates::boolean OR j.metric_date BETWEEN @first_date::date AND @last_date::date)
        AND (@typed::text = '' OR j.words @@ daymill.job_words(@typed::text))
    LIMIT @max_rows::integer
) AS m ON true;

-- name: JobCountDates :one
-- The number of jobs of dates within a range, counted up to most.
SELECT count(*)::bigint
FROM (
    SELECT FROM daymill.jobs AS j
    WHERE j.metric_date BETWEEN @first_date::date AND @last_date::date
    ORDER BY j.metric_date, j.id
    LIMIT @most::integer
) AS c;

-- name: JobNearestOlder :one
-- The highest id, below another, of any job of a range of dates, with one index lookup per date. It is -1 if the range has more dates than most, or
-- if one of the next jobs belongs to the range anyway, and 0 if there is none.
WITH bounds AS (
    SELECT
        greatest(
            @first_date::date,
            (SELECT j.metric_date FROM daymill.jobs AS j WHERE j.metric_date IS NOT NULL ORDER BY j.metric_date, j.id LIMIT 1)
        ) AS low,
        least(
            @last_date::date,
            (
                SELECT j.metric_date FROM daymill.jobs AS j WHERE j.metric_date IS NOT NULL
                ORDER BY j.metric_date DESC, j.id DESC LIMIT 1
            )
        ) AS high
)

SELECT
    coalesce(CASE WHEN b.high - b.low > @most::integer OR EXISTS (
        SELECT FROM (SELECT j.metric_date FROM daymill.jobs AS j WHERE j.id < @before_id ORDER BY j.id DESC LIMIT 500) AS n
        WHERE n.metric_date BETWEEN b.low AND b.high
    ) THEN -1 ELSE (
        SELECT max(n.id)
        FROM generate_series(0, b.high - b.low) AS i
        CROSS JOIN LATERAL (
            SELECT j.id FROM daymill.jobs AS j
            WHERE j.metric_date = b.low + i AND j.id < @before_id
            ORDER BY j.id DESC
            LIMIT 1
        ) AS n
    ) END, 0)::bigint AS id
FROM bounds AS b;

-- name: JobNearestNewer :one
-- Like JobNearestOlder, the lowest id above another.
WITH bounds AS (
    SELECT
        greatest(
            @first_date::date,
            (SELECT j.metric_date FROM daymill.jobs AS j WHERE j.metric_date IS NOT NULL ORDER BY j.metric_date, j.id LIMIT 1)
        ) AS low,
        least(
            @last_date::date,
            (
                SELECT j.metric_date FROM daymill.jobs AS j WHERE j.metric_date IS NOT NULL
                ORDER BY j.metric_date DESC, j.id DESC LIMIT 1
            )
        ) AS high
)

SELECT
    coalesce(CASE WHEN b.high - b.low > @most::integer OR EXISTS (
        SELECT FROM (SELECT j.metric_date FROM daymill.jobs AS j WHERE j.id > @after_id ORDER BY j.id LIMIT 500) AS n
        WHERE n.metric_date BETWEEN b.low AND b.high
    ) THEN -1 ELSE (
        SELECT min(n.id)
        FROM generate_series(0, b.high - b.low) AS i
        CROSS JOIN LATERAL (
            SELECT j.id FROM daymill.jobs AS j
            WHERE j.metric_date = b.low + i AND j.id > @after_id
            ORDER BY j.id
            LIMIT 1
        ) AS n
    ) END, 0)::bigint AS id
FROM bounds AS b;

-- name: JobByDates :many
-- The jobs that match the rest of a filter, of a range of dates that has few jobs.
SELECT
    c.id,
    c.state
FROM (
    SELECT j.id, j.state, j.kind, j.words, j.changed_at
    FROM daymill.jobs AS j
    WHERE j.metric_date BETWEEN @first_date::date AND @last_date::date
    ORDER BY j.metric_date, j.id
    LIMIT @most::integer
) AS c
WHERE (@kind::text = '' OR c.kind = @kind::text)
    AND (@typed::text = '' OR c.words @@ daymill.job_words(@typed::text))
    AND c.changed_at <= @changed_by::timestamptz;

-- name: JobWordsNeeded :one
-- The words of a search that a job must have; T if the search has only words that a job must not have, or if the last is the beginning of
-- a word and has fewer than three letters: an index would list too many words.
SELECT (CASE
    WHEN w.query::text ~ '(^|[^''])''[^'']{1,2}''$' THEN 'T'
    ELSE querytree(w.query)
END)::text AS needed
FROM websearch_to_tsquery('simple', @typed::text) AS w (query);

-- name: JobByWords :many
-- The jobs with rare words, and whether each matches the rest of a filter. If there are as many as the limit, the words are not rare.
SELECT
    c.id,
    c.state,
    (
        (@kind::text = '' OR c.kind = @kind::text)
        AND (NOT @has_dates::boolean OR coalesce(c.metric_date BETWEEN @first_date::date AND @last_date::date, false))
        AND c.changed_at <= @changed_by::timestamptz
    )::boolean AS matches
FROM (
    SELECT j.id, j.state, j.kind, j.metric_date, j.changed_at
    FROM daymill.jobs AS j
    WHERE j.words @@ daymill.job_words(@typed::text)
    LIMIT @most::integer
) AS c;

-- name: JobStill :many
-- Which of some jobs match a filter and have not changed since an instant, newest first.
SELECT
    j.id,
    j.kind,
    j.metric_date,
    j.state
FROM daymill.jobs AS j
WHERE j.id = ANY(@ids::bigint[])
    AND (@state::text = '' OR j.state = @state::text)
    AND (@kind::text = '' OR j.kind = @kind::text)
    AND (NOT @has_dates::boolean OR j.metric_date BETWEEN @first_date::date AND @last_date::date)
    AND (@typed::text = '' OR j.words @@ daymill.job_words(@typed::text))
    AND j.changed_at <= @changed_by::timestamptz
ORDER BY j.id DESC;

-- name: JobList :many
-- Jobs by their ids, newest first, with the columns of a list.
SELECT
    j.id,
    j.kind,
    j.metric_date,
    j.state,
    j.attempt,
    j.max_attempts,
    j.created_at,
    j.scheduled_at,
    j.attempted_at,
    j.finalized_at,
    j.pruned_at,
    coalesce(left(j.errors -> -1 ->> 'error', 300), '')::text AS error
FROM daymill.jobs AS j
WHERE j.id = ANY(@ids::bigint[])
ORDER BY j.id DESC;

-- name: JobGet :one
-- One job. Texts that may be long are truncated to what a page shows.
SELECT
    j.id,
    j.kind,
    j.metric_date,
    left(j.args::text, 100000)::text AS args,
    j.state,
    j.queue,
    j.priority,
    j.attempt,
    j.max_attempts,
    coalesce(j.attempted_by, '')::text AS attempted_by,
    j.created_at,
    j.scheduled_at,
    j.attempted_at,
    j.finalized_at,
    left(j.errors::text, 1000000)::text AS errors,
    coalesce(left(j.output::text, 100000), '')::text AS output,
    j.pruned_at
FROM daymill.jobs AS j
WHERE j.id = @id;

-- name: JobSnapshot :one
-- The highest id, and the current time.
SELECT
    coalesce((SELECT max(j.id) FROM daymill.jobs AS j), 0)::bigint AS max_id,
    clock_timestamp()::timestamptz AS at;

-- name: JobForget :execrows
-- Deletes the history of jobs.
DELETE FROM daymill.jobs WHERE id = ANY(@ids::bigint[]);

-- name: JobSizes :many
-- The stored size of jobs in bytes, without reading them.
SELECT
    j.id,
    (pg_column_size(j.args) + pg_column_size(j.errors))::bigint AS bytes
FROM daymill.jobs AS j
WHERE j.id = ANY(@ids::bigint[]);
