CREATE OR REPLACE FUNCTION analytics.notify_request() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(current_setting('daymill.notify', true), '') <> 'off'
        AND EXISTS (SELECT FROM added AS a WHERE a.requested_via <> 'watch')
    THEN
        PERFORM pg_notify('daymill_request', '');
    END IF;
    RETURN NULL;
END
$$;
