RESET synchronous_commit; -- The last commit makes everything before it durable.
SELECT daymill_restore.wake();
DO $$
DECLARE
    the_statement text;
    the_statements text[] := ARRAY(
        SELECT e.head || CASE s.enabled WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END
        FROM daymill_restore.asleep AS s INNER JOIN daymill_restore.all_enabled AS e ON e.kind = s.kind AND e.id = s.id
    );
BEGIN
    DROP SCHEMA daymill_restore CASCADE;
    FOREACH the_statement IN ARRAY the_statements LOOP
        EXECUTE the_statement;
    END LOOP;
END
$$;
