-- A role with USAGE alone could store a text of any length with its request: pages and the history show it, and a very long one failed with
-- the message of an index.
CREATE OR REPLACE FUNCTION analytics.check_via(via text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF length(via) > 100 THEN
        RAISE EXCEPTION 'via has % characters, and may have 100', length(via)
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Give the name of your program.';
    END IF;
    IF lower(btrim(via)) IN (
        'api', 'backfill', 'cli', 'cron', 'import', 'job', 'reconcile', 'river', 'schedule', 'verify', 'watch', 'web', 'worker'
    )
        -- Called by a function with the owner's rights, so this is the owner.
        AND NOT pg_has_role(session_user, current_user, 'MEMBER')
    THEN
        RAISE EXCEPTION 'via % is how Daymill names a way of its own', quote_literal(via)
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave via out, or give the name of your program.';
    END IF;
END
$$;
