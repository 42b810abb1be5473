-- The triggers on the applications' tables go with their functions.
DO $remove$
DECLARE
    watch regprocedure;
BEGIN
    FOR watch IN
        SELECT p.oid::regprocedure
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'analytics'::regnamespace AND p.proname ~ '^watch_[0-9]+$' AND p.prorettype = 'trigger'::regtype
    LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', watch);
    END LOOP;
END
$remove$;

DROP INDEX analytics.rollup_requests_watch;
DROP TRIGGER notify_request ON analytics.rollup_requests;

CREATE OR REPLACE FUNCTION analytics.notify_request() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_notify('daymill_request', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER notify_request
AFTER INSERT ON analytics.rollup_requests
FOR EACH STATEMENT EXECUTE FUNCTION analytics.notify_request();

DROP FUNCTION analytics.watch_instant(oid, text, integer, text);
DROP FUNCTION analytics.request_late(timestamptz [], timestamptz [], text);
DROP FUNCTION analytics.request_late(date);
