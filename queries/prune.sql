-- name: PruneRequests :execrows
-- Resolved requests, oldest first. Those of a running backfill stay, because it needs them.
DELETE FROM analytics.rollup_requests
WHERE id IN (
    SELECT q.id
    FROM analytics.rollup_requests AS q
    WHERE q.resolved_at < @before
        AND NOT EXISTS (
            SELECT FROM analytics.backfills AS b WHERE b.id = q.backfill_id AND b.state IN ('running', 'paused')
        )
    ORDER BY q.resolved_at, q.id
    LIMIT @max_rows::integer
);

-- name: PruneWatchRequests :execrows
-- Resolved requests of the triggers on the source, oldest first: one for every transaction with late events.
DELETE FROM analytics.rollup_requests
WHERE id IN (
    SELECT q.id
    FROM analytics.rollup_requests AS q
    WHERE q.resolved_at < now() - @keep::interval AND q.resolved_at IS NOT NULL AND q.requested_via = 'watch'
    ORDER BY q.resolved_at, q.id
    LIMIT @max_rows::integer
);

-- name: PruneRuns :execrows
-- Finished runs, oldest first. The last of each date stays.
DELETE FROM analytics.rollup_runs
WHERE id IN (
    SELECT r.id
    FROM analytics.rollup_runs AS r
    WHERE r.finished_at < @before
        AND NOT EXISTS (
            SELECT FROM analytics.rollup_dates AS d
            WHERE d.metric_date = r.metric_date AND (d.run_id = r.id OR d.complete_run_id = r.id)
        )
    ORDER BY r.finished_at, r.id
    LIMIT @max_rows::integer
);

-- name: PruneVerifications :execrows
DELETE FROM analytics.verifications
WHERE id IN (
    SELECT v.id
    FROM analytics.verifications AS v
    WHERE v.finished_at < @before
    ORDER BY v.finished_at, v.id
    LIMIT @max_rows::integer
);

-- name: PruneBackfills :execrows
DELETE FROM analytics.backfills
WHERE id IN (
    SELECT b.id
    FROM analytics.backfills AS b
    WHERE b.finished_at < @before
    ORDER BY b.id
    LIMIT @max_rows::integer
);

-- name: PruneJobs :execrows
-- The history of jobs that ended, oldest first, once River has deleted them itself.
DELETE FROM daymill.jobs
WHERE id IN (
    SELECT j.id
    FROM daymill.jobs AS j
    WHERE j.finalized_at < @before AND j.pruned_at IS NOT NULL
    ORDER BY j.finalized_at, j.id
    LIMIT @max_rows::integer
);

-- name: PruneAudit :execrows
-- Audit entries, oldest first.
DELETE FROM daymill.audit
WHERE id IN (
    SELECT a.id
    FROM daymill.audit AS a
    WHERE a.at < @before
    ORDER BY a.at
    LIMIT @max_rows::integer
);
