CREATE OR REPLACE FUNCTION analytics.check_via(via text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
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
