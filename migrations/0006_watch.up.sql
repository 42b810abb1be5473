-- Late events without being told: `daymill source watch` puts statement triggers on the source's table, whose function
-- appends requests for the dates before today that a statement has touched. The function is made for each table
-- (analytics.watch_1, …), since a query that is planned once costs a tenth of one that is put together each time. What all
-- of them have in common is here.

-- Appends requests for the dates from each first instant to its last. It is called in the transaction that changes the
-- events, so a request is there if and only if the change is.
--
-- A date is asked for once per transaction, and not once per statement: where the newest open request of the date is of
-- this transaction, it becomes visible together with the rows of this statement, and no run can claim it before. A
-- request of any other transaction proves nothing, even one that no run has claimed yet: it may be claimed between this
-- look and this transaction's commit, by a run that then does not see the rows. So the row of another is never waited
-- for, locked or relied upon. (A row that a savepoint's subtransaction appended has another xmin. Then there is one more.)
--
-- The first and the last instant of an element have one local date in the reporting zone. What date each of them belongs
-- to is what analytics.date_of says, in line: the function would look the zone up at every step.
CREATE FUNCTION analytics.request_late(first_at timestamptz [], last_at timestamptz [], zone text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    local_date date;
    starts timestamptz;
    ends timestamptz;
BEGIN
    FOR i IN 1..coalesce(cardinality(first_at), 0) LOOP
        local_date := (first_at[i] AT TIME ZONE zone)::date;
        starts := local_date::timestamp AT TIME ZONE zone;
        ends := (local_date + 1)::timestamp AT TIME ZONE zone;
        IF first_at[i] < starts THEN
            PERFORM analytics.request_late(local_date - 1);
        END IF;
        IF last_at[i] >= starts AND first_at[i] < ends THEN
            PERFORM analytics.request_late(local_date);
        END IF;
        IF last_at[i] >= ends THEN
            PERFORM analytics.request_late(local_date + 1);
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION analytics.request_late(late date) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF (
        SELECT q.xmin = pg_current_xact_id()::xid AND q.requested_at >= now()
        FROM analytics.rollup_requests AS q
        WHERE q.metric_date = late AND q.resolved_at IS NULL
        ORDER BY q.id DESC
        LIMIT 1
    ) IS NOT TRUE THEN
        INSERT INTO analytics.rollup_requests (metric_date, requested_via) VALUES (late, 'watch');
    END IF;
END
$$;

-- The expression for the instant of a watched table today, or NULL where its column is gone. An application may rename
-- the column, which the view behind it outlives: its inserts must not fail for that.
CREATE FUNCTION analytics.watch_instant(relation oid, column_name text, column_number integer, zone text) RETURNS text
LANGUAGE sql STABLE
AS $$
    SELECT CASE coalesce(nullif(t.typbasetype, 0), t.oid)
        WHEN 'timestamptz'::regtype THEN format('%I', a.attname)
        WHEN 'timestamp'::regtype THEN format('(%I AT TIME ZONE %L)', a.attname, coalesce(nullif(zone, ''), 'UTC'))
    END
    FROM pg_catalog.pg_attribute AS a
    INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attname = column_name OR a.attnum = column_number)
    ORDER BY a.attname = column_name DESC
    LIMIT 1
$$;

-- A trickle of late rows, each in a transaction of its own, leaves as many requests. The reconciler lets them rest for a
-- while, so that one run serves many, and nobody has to be woken: NOTIFY takes a lock at commit that all who notify
-- share, which an application's inserts should not queue for.
DROP TRIGGER notify_request ON analytics.rollup_requests;

CREATE OR REPLACE FUNCTION analytics.notify_request() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF EXISTS (SELECT FROM added AS a WHERE a.requested_via <> 'watch') THEN
        PERFORM pg_notify('daymill_request', '');
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER notify_request
AFTER INSERT ON analytics.rollup_requests
REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION analytics.notify_request();

-- They are pruned after a week, and not when the rest of the ledger is: there may be a great many.
CREATE INDEX rollup_requests_watch ON analytics.rollup_requests (resolved_at, id)
WHERE resolved_at IS NOT NULL AND requested_via = 'watch';
