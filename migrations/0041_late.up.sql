-- A late event's request wakes a worker if it is the first open one of its date, so that the date is right some milliseconds later and not at
-- the next look. The requests that follow wake nobody: the run that takes the first takes them too, or they rest. So however many late rows an
-- application commits, few of its transactions take the lock that NOTIFY shares at commit. None does where transactions may be prepared
-- (max_prepared_transactions), because Postgres refuses to prepare one that has notified. None of a serializable transaction does either: reading
-- what others have requested would make it fail if they commit at the same time.
CREATE OR REPLACE FUNCTION analytics.notify_request() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(current_setting('daymill.notify', true), '') = 'off' THEN
        RETURN NULL;
    END IF;
    IF EXISTS (SELECT FROM added AS a WHERE a.requested_via <> 'watch')
        OR (
            current_setting('max_prepared_transactions') = '0' AND current_setting('transaction_isolation') <> 'serializable'
            AND EXISTS (
                SELECT FROM added AS a
                WHERE NOT EXISTS (
                    SELECT FROM analytics.rollup_requests AS q
                    WHERE q.metric_date = a.metric_date AND q.resolved_at IS NULL AND q.id <> ALL (SELECT b.id FROM added AS b)
                )
            )
        )
    THEN
        PERFORM pg_notify('daymill_request', '');
    END IF;
    RETURN NULL;
END
$$;
