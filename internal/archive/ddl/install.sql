-- Objects that the archive needs in the database that it archives: event triggers that write every schema change to the WAL, at its exact
-- place among the rows. A message is JSON; internal/archive/ddl reads it. Nothing here may make the application's statement fail: if a
-- change cannot be written, the triggers write that it is lost, and the archive makes a new base.
--
-- The triggers run for every role, with the rights of their owner. No other role may use the schema. Each function sets the settings that its texts
-- depend on, because the application's session may have others: without standard_conforming_strings, 'pg\_%' is also the name of a schema pgboss.
CREATE SCHEMA daymill_archive;
REVOKE ALL ON SCHEMA daymill_archive FROM PUBLIC;

-- The prefix of the messages. Every role may write messages with any prefix, and a superuser runs the SQL that the archive makes from
-- ours. So the prefix is a secret between these functions and the archiver.
CREATE TABLE daymill_archive.secret (prefix text PRIMARY KEY);
INSERT INTO daymill_archive.secret (prefix) VALUES ('daymill_archive.' || gen_random_uuid()::text);
REVOKE ALL ON TABLE daymill_archive.secret FROM PUBLIC;
-- Members of pg_read_all_data may read every table, but see no rows of one with row security.
ALTER TABLE daymill_archive.secret ENABLE ROW LEVEL SECURITY;

-- say writes a message that is part of the transaction. Postgres sorts a message by its end, which is where the next record begins. If
-- that were a change of another subtransaction, their order would be undefined. So an empty message follows.
CREATE FUNCTION daymill_archive.say(the_message json) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
    SELECT pg_logical_emit_message(true, s.prefix, the_message::text) FROM daymill_archive.secret AS s;
    SELECT pg_logical_emit_message(true, 'daymill_archive.pad', '');
$$;
REVOKE ALL ON FUNCTION daymill_archive.say(json) FROM PUBLIC;

-- keep and kept pass a value from one trigger to later ones of the same transaction. They use settings, which every role may set, so a
-- value counts only with a seal that is made with the secret, of the transaction.
CREATE FUNCTION daymill_archive.seal(the_name text, the_value text, of_what text) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
    SELECT encode(sha256(convert_to(concat_ws(' ', s.prefix, of_what, the_name, the_value, s.prefix), 'UTF8')), 'hex')
    FROM daymill_archive.secret AS s
$$;

CREATE FUNCTION daymill_archive.keep(the_name text, the_value text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$ SELECT set_config('daymill_archive.' || the_name, daymill_archive.seal(the_name, the_value, pg_current_xact_id()::text) || the_value, true) $$;

CREATE FUNCTION daymill_archive.kept(the_name text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
    the_setting text := coalesce(current_setting('daymill_archive.' || the_name, true), '');
BEGIN
    IF the_setting <> '' AND left(the_setting, 64) = daymill_archive.seal(the_name, substr(the_setting, 65), pg_current_xact_id()::text) THEN
        RETURN substr(the_setting, 65);
    END IF;
    RETURN '';
END
$$;

-- place returns how many statements of the same text have ended before and were not rolled back, so that the reader finds this one in the text. It
-- is NULL if the text has one statement, or if too many texts are counted. The count is in a setting that is not local to the transaction, because
-- a text may have several transactions. What is rolled back is not counted, because the setting is rolled back, too. The seal is of one message of
-- the client, so an older value does not count.
CREATE FUNCTION daymill_archive.place(the_context text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
    inner_context text := substr(the_context, strpos(the_context, E'\n') + 1);
    the_text text := CASE WHEN strpos(the_context, E'\n') > 0 AND starts_with(inner_context, 'SQL statement "') THEN inner_context ELSE current_query() END;
    the_name text := concat_ws(' ', 'place', pg_backend_pid(), extract(epoch FROM statement_timestamp()));
    the_setting text := coalesce(current_setting('daymill_archive.place', true), '');
    counts jsonb := '{}';
    the_key text;
    the_place bigint;
BEGIN
    IF the_text !~ ';\s*[^\s"]' THEN
        RETURN NULL;
    END IF;
    IF the_setting <> '' AND left(the_setting, 64) = daymill_archive.seal(the_name, substr(the_setting, 65), '') THEN
        counts := substr(the_setting, 65)::jsonb;
    END IF;
    the_key := hashtextextended(the_context || the_text COLLATE "C", 0)::text;
    IF counts ? 'many' OR length(the_setting) > 10000 AND NOT counts ? the_key THEN
        counts := '{"many": 0}';
    ELSE
        the_place := coalesce((counts ->> the_key)::bigint, 0);
        counts := counts || jsonb_build_object(the_key, the_place + 1);
    END IF;
    PERFORM set_config('daymill_archive.place', daymill_archive.seal(the_name, counts::text, '') || counts::text, false);
    RETURN the_place;
END
$$;
REVOKE ALL ON FUNCTION daymill_archive.place(text) FROM PUBLIC;

-- ship sends all rows of a table, because rows that a statement has rewritten are not in the WAL as changes.
CREATE FUNCTION daymill_archive.ship(the_table oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres'
SET bytea_output = 'hex' SET extra_float_digits = 3 SET lc_monetary = 'C' SET row_security = off
AS $$
DECLARE
    the_name text;
    the_columns json;
    the_row text;
BEGIN
    SELECT format('%I.%I', n.nspname, c.relname) INTO the_name
    FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = the_table AND c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast');
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT coalesce(json_agg(a.attname ORDER BY a.attnum), '[]'),
        coalesce(string_agg(format('nullif(format(''%%L'', %I), ''NULL'')', a.attname), ', ' ORDER BY a.attnum), '')
    INTO the_columns, the_row
    FROM pg_attribute AS a WHERE a.attrelid = the_table AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    PERFORM daymill_archive.say(json_build_object('kind', 'rows', 'table', the_name, 'columns', the_columns));
    EXECUTE format('SELECT count(pg_logical_emit_message(true, $1, ARRAY[%s]::text[]::text)) FROM ONLY %s', the_row, the_name)
    USING (SELECT s.prefix || '.row' FROM daymill_archive.secret AS s);
    PERFORM daymill_archive.say(json_build_object('kind', 'rows_end'));
END
$$;
REVOKE ALL ON FUNCTION daymill_archive.ship(oid) FROM PUBLIC;

-- mine reports whether this transaction wrote a row of a catalog, given the row's xmin.
CREATE FUNCTION daymill_archive.mine(the_xmin xid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
    here bigint := pg_current_xact_id()::text::bigint;
    there bigint := (here & ~4294967295) | the_xmin::text::bigint;
BEGIN
    IF the_xmin::text::bigint < 3 THEN
        RETURN false;
    ELSIF there > here + 2147483648 THEN
        there := there - 4294967296;
    ELSIF there < here - 2147483648 THEN
        there := there + 4294967296;
    END IF;
    RETURN there >= 0 AND pg_xact_status(there::text::xid8) = 'in progress';
END
$$;

-- identity has every column that ever was GENERATED ALWAYS AS IDENTITY, by every name that it had. An UPDATE in the archive must not set
-- such a column, and the archiver reads a change of the WAL later, when the catalog may be different.
CREATE TABLE daymill_archive.identity (relation oid, name text, PRIMARY KEY (relation, name));
INSERT INTO daymill_archive.identity (relation, name)
SELECT a.attrelid, a.attname FROM pg_catalog.pg_attribute AS a WHERE a.attidentity = 'a';

-- identify makes every table's updates and deletes identify their row: without a key, by the whole row. Otherwise the publication would
-- make them fail.
CREATE FUNCTION daymill_archive.identify() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
    the_statement text;
    before text := daymill_archive.kept('quiet');
BEGIN
    PERFORM daymill_archive.keep('quiet', 'on');
    FOR the_statement IN
        SELECT format('ALTER TABLE ONLY %I.%I REPLICA IDENTITY FULL', n.nspname, c.relname)
        FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
            AND CASE c.relreplident
                WHEN 'f' THEN false
                WHEN 'n' THEN true
                WHEN 'i' THEN NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid)
                ELSE NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate)
            END
        ORDER BY c.oid
    LOOP
        EXECUTE the_statement;
        PERFORM daymill_archive.say(json_build_object('kind', 'sql', 'sql', the_statement));
    END LOOP;
    PERFORM daymill_archive.keep('quiet', before);
END
$$;
REVOKE ALL ON FUNCTION daymill_archive.identify() FROM PUBLIC;

-- missing sends the values that new columns have in existing rows. A default such as now() is computed once, when the column is added, and
-- no row is rewritten.
CREATE FUNCTION daymill_archive.missing() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres'
SET bytea_output = 'hex' SET extra_float_digits = 3 SET lc_monetary = 'C'
AS $$
DECLARE
    the record;
    seen text := daymill_archive.kept('seen');
BEGIN
    FOR the IN
        SELECT format(' %s.%s.', a.attrelid, a.attnum) AS mark,
            format('UPDATE ONLY %I.%I SET %I = %L', n.nspname, c.relname, a.attname, (a.attmissingval::text::text[])[1]) AS statement
        FROM pg_attribute AS a INNER JOIN pg_class AS c ON c.oid = a.attrelid INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.atthasmissing AND c.relkind = 'r' AND c.relpersistence = 'p' AND daymill_archive.mine(a.xmin)
            AND coalesce(pg_get_expr(d.adbin, d.adrelid), '') !~ '^(true|false|-?[0-9.]+|''([^'']|'''')*''::[a-z ]+)$'
        ORDER BY 1
    LOOP
        IF position(the.mark IN seen) = 0 THEN
            seen := seen || the.mark;
            PERFORM daymill_archive.say(json_build_object('kind', 'sql', 'sql', the.statement));
        END IF;
    END LOOP;
    PERFORM daymill_archive.keep('seen', seen);
END
$$;
REVOKE ALL ON FUNCTION daymill_archive.missing() FROM PUBLIC;

-- role has the roles that the archive knows: those of its first base, and those that roles() has sent. It has no key, because a statement
-- must not wait for another transaction that sends the same role.
CREATE TABLE daymill_archive.role (name text);
INSERT INTO daymill_archive.role (name) SELECT r.rolname FROM pg_catalog.pg_roles AS r;

-- roles sends the roles that were made since, because a statement may need them, and Postgres fires no event trigger for CREATE ROLE.
CREATE FUNCTION daymill_archive.roles() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
    the record;
BEGIN
    FOR the IN
        SELECT r.rolname AS name, concat_ws(' ', CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN NOT r.rolinherit THEN 'NOINHERIT' END,
            CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
            CASE WHEN r.rolreplication THEN 'REPLICATION' END, CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END) AS attributes
        FROM pg_roles AS r WHERE NOT EXISTS (SELECT FROM daymill_archive.role AS k WHERE k.name = r.rolname) ORDER BY r.oid
    LOOP
        INSERT INTO daymill_archive.role (name) VALUES (the.name);
        PERFORM daymill_archive.say(json_build_object('kind', 'sql', 'sql', format('SELECT daymill_restore.role(%L, %L)', the.name, the.attributes)));
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION daymill_archive.roles() FROM PUBLIC;

-- created returns the CREATE TABLE of a table that a query filled. The table's rows come before its message, so the reader creates the
-- table with the first row. This statement is for a table without rows.
CREATE FUNCTION daymill_archive.created(the_table oid) RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
    SELECT format('CREATE %sTABLE IF NOT EXISTS %I.%I (%s)', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, n.nspname, c.relname, coalesce((
            SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
            FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        ), ''))
        || coalesce((
            SELECT string_agg(format('; ALTER TABLE %I.%I ALTER COLUMN %I TYPE %s COLLATE %I.%I', n.nspname, c.relname, a.attname,
                format_type(a.atttypid, a.atttypmod), cn.nspname, co.collname), '' ORDER BY a.attnum)
            FROM pg_attribute AS a INNER JOIN pg_type AS t ON t.oid = a.atttypid
            INNER JOIN pg_collation AS co ON co.oid = a.attcollation INNER JOIN pg_namespace AS cn ON cn.oid = co.collnamespace
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attcollation <> t.typcollation
        ), '')
        || CASE WHEN c.reloptions IS NULL THEN '' ELSE format('; ALTER TABLE %I.%I SET (%s)', n.nspname, c.relname, array_to_string(c.reloptions, ', ')) END
        || CASE WHEN am.amname IN ('heap') THEN '' ELSE format('; ALTER TABLE %I.%I SET ACCESS METHOD %I', n.nspname, c.relname, am.amname) END
        || format('; ALTER TABLE %I.%I OWNER TO %I', n.nspname, c.relname, r.rolname)
    FROM pg_class AS c INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace INNER JOIN pg_roles AS r ON r.oid = c.relowner
    LEFT JOIN pg_am AS am ON am.oid = c.relam
    WHERE c.oid = the_table
$$;

-- called records who runs a statement and with which settings. It is the only trigger that runs as the caller, so only it can know. The
-- next trigger runs as its owner and reads the record. No code of the caller runs between the two, so the record can be trusted.
CREATE FUNCTION daymill_archive.called() RETURNS event_trigger
LANGUAGE plpgsql
AS $$
DECLARE
    the_context text;
BEGIN
    GET DIAGNOSTICS the_context = PG_CONTEXT;
    PERFORM pg_catalog.set_config('daymill_archive.caller', pg_catalog.json_build_object('context', the_context, 'settings', pg_catalog.json_build_object(
        'role', current_user, 'search_path', pg_catalog.current_setting('search_path'), 'TimeZone', pg_catalog.current_setting('TimeZone'),
        'DateStyle', pg_catalog.current_setting('DateStyle'), 'IntervalStyle', pg_catalog.current_setting('IntervalStyle'),
        'default_table_access_method', pg_catalog.current_setting('default_table_access_method'),
        'default_toast_compression', pg_catalog.current_setting('default_toast_compression'),
        'default_tablespace', pg_catalog.current_setting('default_tablespace'), 'xmloption', pg_catalog.current_setting('xmloption'),
        'standard_conforming_strings', pg_catalog.current_setting('standard_conforming_strings'),
        'lc_monetary', pg_catalog.current_setting('lc_monetary'), 'timezone_abbreviations', pg_catalog.current_setting('timezone_abbreviations'),
        'array_nulls', pg_catalog.current_setting('array_nulls'), 'transform_null_equals', pg_catalog.current_setting('transform_null_equals')
    ))::pg_catalog.text, true);
END
$$;

-- rights adds the rights of the caller that a restore does not have by itself: the roles of which it is a member (the owner of the database is one
-- of pg_database_owner), because Postgres fires no event trigger for GRANT role, and whether it may create schemas, which belongs to the database.
-- A superuser has all of them. It is always mentioned, because nor is there an event trigger for ALTER ROLE, so the role may not be one in the base.
CREATE FUNCTION daymill_archive.rights(the_settings json) RETURNS json
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
    SELECT the_settings::jsonb || coalesce((
        SELECT CASE WHEN NOT r.rolsuper THEN jsonb_build_object('member', ARRAY(
            SELECT o.rolname FROM pg_roles AS o WHERE o.oid <> r.oid AND pg_has_role(r.oid, o.oid, 'MEMBER') ORDER BY o.rolname
        )::text, 'creates', has_database_privilege(r.oid, current_database(), 'CREATE')::text)
            ELSE jsonb_build_object('super', 'true') END
        FROM pg_roles AS r WHERE r.rolname = the_settings ->> 'role'
    ), '{}')
$$;

-- begun marks the beginning of statements whose rows come before their own message.
CREATE FUNCTION daymill_archive.begun() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
    the_caller json := current_setting('daymill_archive.caller')::json;
BEGIN
    IF tg_tag LIKE '%EXTENSION' THEN -- Until it ends, the statements are those of its script.
        PERFORM daymill_archive.keep('extension', 'on');
    END IF;
    PERFORM daymill_archive.roles();
    PERFORM daymill_archive.say(json_build_object('kind', 'begin', 'tag', tg_tag,
        'settings', daymill_archive.rights(json_build_object('role', the_caller #>> '{settings,role}'))));
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'daymill could not archive the beginning of %: %', tg_tag, SQLERRM;
END
$$;

-- rewritten records which tables a statement rewrites.
CREATE FUNCTION daymill_archive.rewritten() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
BEGIN
    PERFORM daymill_archive.keep('rewritten', daymill_archive.kept('rewritten') || ' ' || pg_event_trigger_table_rewrite_oid());
EXCEPTION WHEN OTHERS THEN
    PERFORM daymill_archive.say(json_build_object('kind', 'lost', 'tag', tg_tag, 'reason', SQLERRM));
    RAISE WARNING 'daymill could not archive a table that % rewrites: %', tg_tag, SQLERRM;
END
$$;

-- dropped records whether a statement drops only temporary objects. If it also drops others, dropped records statements for those.
CREATE FUNCTION daymill_archive.dropped() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
    temporary bigint;
    permanent text;
    names text;
BEGIN
    SELECT count(*) FILTER (WHERE o.passing),
        string_agg(format('DROP %s IF EXISTS %s CASCADE', upper(o.object_type), o.object_identity), '; ') FILTER (WHERE NOT o.passing),
        coalesce(json_agg(o.object_identity) FILTER (WHERE o.place <= 20), '[]')::text
    INTO temporary, permanent, names
    FROM (
        -- Rules, triggers and policies of a temporary table do not count as temporary.
        SELECT object_type, object_identity, is_temporary OR object_identity ~ '\mpg_temp(_\d+)?\.' AS passing, row_number() OVER () AS place
        FROM pg_event_trigger_dropped_objects() WHERE original
    ) AS o;
    PERFORM daymill_archive.keep('dropped_names', names);
    PERFORM daymill_archive.keep('dropped', CASE WHEN temporary = 0 THEN '' WHEN permanent IS NULL THEN 'temporary' ELSE permanent END);
EXCEPTION WHEN OTHERS THEN
    PERFORM daymill_archive.say(json_build_object('kind', 'lost', 'tag', tg_tag, 'reason', SQLERRM));
    RAISE WARNING 'daymill could not archive what % drops: %', tg_tag, SQLERRM;
END
$$;

-- emit writes the message of a statement that has ended, and the values that its text does not have.
CREATE FUNCTION daymill_archive.emit(the_tag text, the_context text, the_settings json, the_place bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
SET extra_float_digits = 3
AS $$
DECLARE
    objects json;
    made oid;
    count_all bigint;
    count_temporary bigint;
    count_extension bigint;
    dropped text := daymill_archive.kept('dropped');
    dropped_names text := daymill_archive.kept('dropped_names');
    rewritten text := daymill_archive.kept('rewritten');
    skip text := '';
    statement text;
    bodies json;
    bound text;
    temporary json;
    passing json;
    the_table text;
BEGIN
    PERFORM daymill_archive.keep('dropped', ''), daymill_archive.keep('dropped_names', ''), daymill_archive.keep('rewritten', '');
    SELECT count(*), count(*) FILTER (WHERE c.schema_name LIKE 'pg\_temp%' OR c.object_identity ~ '\mpg_temp(_\d+)?\.'
            OR c.classid = 'pg_statistic_ext'::regclass AND EXISTS (
                SELECT FROM pg_statistic_ext AS x INNER JOIN pg_class AS t ON t.oid = x.stxrelid WHERE x.oid = c.objid AND t.relnamespace = pg_my_temp_schema()
            )
            -- A function that returns rows of a temporary table ends with it, and so does a domain over them.
            OR c.classid IN ('pg_proc'::regclass, 'pg_type'::regclass) AND EXISTS (
                SELECT FROM pg_depend AS d INNER JOIN pg_type AS t ON t.oid = d.refobjid
                WHERE d.classid = c.classid AND d.objid = c.objid AND d.refclassid = 'pg_type'::regclass AND t.typnamespace = pg_my_temp_schema()
            )),
        count(*) FILTER (WHERE c.in_extension), min(c.objid) FILTER (WHERE c.object_type = 'table'),
        coalesce(json_agg(c.object_identity) FILTER (WHERE c.place <= 20), '[]')
    INTO count_all, count_temporary, count_extension, made, objects
    FROM pg_event_trigger_ddl_commands() WITH ORDINALITY AS c (classid, objid, objsubid, command_tag, object_type, schema_name, object_identity, in_extension, command, place);
    IF count_all > 0 AND count_temporary = count_all OR the_tag LIKE 'DROP %' AND dropped = 'temporary'
        -- REFRESH MATERIALIZED VIEW CONCURRENTLY creates a temporary table, which the event trigger does not report.
        OR count_all = 0 AND the_context ~ E'^[^\n]*\nSQL statement "(CREATE TEMP|ALTER) TABLE pg_temp_[0-9]+[.]' THEN
        skip := 'temporary';
    ELSIF count_all > 0 AND count_extension = count_all AND the_tag NOT IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN
        skip := 'extension';
    ELSIF the_tag IN ('CREATE TABLE AS', 'SELECT INTO') THEN
        statement := daymill_archive.created(made);
        IF statement IS NULL THEN
            skip := 'nothing';
        END IF;
    ELSIF the_tag LIKE 'DROP %' AND dropped <> '' THEN
        statement := dropped;
    END IF;
    IF the_tag LIKE 'DROP %' AND dropped_names <> '' THEN
        objects := dropped_names::json;
    END IF;
    IF skip <> '' AND the_tag NOT IN ('CREATE TABLE AS', 'SELECT INTO', 'CREATE EXTENSION', 'ALTER EXTENSION') THEN
        RETURN;
    END IF;
    IF the_context ~ E'^[^\n]*\nSQL function "' THEN -- The context has the function's name and the statement's number, without its text.
        SELECT json_agg(p.prosrc) INTO bodies FROM pg_proc AS p INNER JOIN pg_language AS l ON l.oid = p.prolang
        WHERE l.lanname = 'sql' AND p.proname = substring(the_context FROM E'^[^\n]*\nSQL function "([^"]*)"');
    END IF;
    IF the_tag = 'CREATE TABLE' THEN -- The bounds of a partition may be computed.
        SELECT pg_get_expr(c.relpartbound, c.oid) INTO bound FROM pg_class AS c WHERE c.oid = made;
    END IF;
    IF the_tag IN ('GRANT', 'REVOKE', 'CREATE TABLE') THEN -- The event trigger does not report the objects that the statement names.
        SELECT json_agg(c.relname) INTO temporary FROM pg_class AS c WHERE c.relnamespace = pg_my_temp_schema();
    END IF;
    IF the_tag IN ('GRANT', 'REVOKE') AND temporary IS NOT NULL THEN
        WITH of AS MATERIALIZED (
            SELECT p.oid, p.proname FROM pg_type AS t INNER JOIN pg_depend AS d ON d.refclassid = 'pg_type'::regclass AND d.refobjid = t.oid
            INNER JOIN pg_proc AS p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
            WHERE t.typnamespace = pg_my_temp_schema()
        )
        SELECT json_agg(DISTINCT o.proname) INTO passing FROM of AS o
        WHERE NOT EXISTS (SELECT FROM pg_proc AS p WHERE p.proname = o.proname AND p.oid NOT IN (SELECT i.oid FROM of AS i));
    END IF;
    PERFORM daymill_archive.roles();
    PERFORM daymill_archive.say(json_build_object('kind', 'end', 'tag', the_tag, 'skip', skip, 'query', current_query(), 'context', the_context,
        'settings', daymill_archive.rights(the_settings), 'objects', objects, 'sql', statement, 'bodies', bodies, 'bound', bound, 'temporary', temporary, 'passing', passing,
        'place', the_place));
    INSERT INTO daymill_archive.identity (relation, name)
    SELECT a.attrelid, a.attname FROM pg_event_trigger_ddl_commands() AS c
    INNER JOIN pg_attribute AS a ON a.attrelid = c.objid AND a.attidentity = 'a'
    WHERE c.classid = 'pg_class'::regclass
    ON CONFLICT DO NOTHING;
    IF the_tag LIKE 'ALTER %' THEN
        PERFORM daymill_archive.missing();
    END IF;
    FOR the_table IN SELECT DISTINCT t FROM regexp_split_to_table(rewritten, ' ') AS t WHERE t <> '' LOOP
        PERFORM daymill_archive.ship(the_table::oid);
    END LOOP;
    PERFORM daymill_archive.identify();
EXCEPTION WHEN OTHERS THEN
    PERFORM daymill_archive.say(json_build_object('kind', 'lost', 'tag', the_tag, 'reason', SQLERRM));
    RAISE WARNING 'daymill could not archive %: %', the_tag, SQLERRM;
END
$$;

-- ended archives a statement that has ended. It counts it first, because emit may fail.
CREATE FUNCTION daymill_archive.ended() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
AS $$
DECLARE
    the_caller json := current_setting('daymill_archive.caller')::json;
    the_place bigint;
BEGIN
    IF daymill_archive.kept('quiet') = 'on' OR tg_tag = 'REINDEX' THEN
        RETURN;
    END IF;
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN
        PERFORM daymill_archive.keep('extension', '');
    ELSIF daymill_archive.kept('extension') = 'on' THEN
        RETURN;
    END IF;
    IF tg_tag NOT IN ('CREATE TABLE AS', 'SELECT INTO', 'REASSIGN OWNED') THEN
        BEGIN
            the_place := daymill_archive.place(the_caller ->> 'context');
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'daymill could not count %: %', tg_tag, SQLERRM;
        END;
    END IF;
    PERFORM daymill_archive.emit(tg_tag, the_caller ->> 'context', the_caller -> 'settings', the_place);
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA daymill_archive FROM PUBLIC;

-- Triggers of one event run in the order of their names: "called" runs before the one that reads its record.
CREATE EVENT TRIGGER daymill_archive_begin_called ON ddl_command_start
WHEN TAG IN ('CREATE TABLE AS', 'SELECT INTO', 'CREATE EXTENSION', 'ALTER EXTENSION') EXECUTE FUNCTION daymill_archive.called();
CREATE EVENT TRIGGER daymill_archive_begun ON ddl_command_start
WHEN TAG IN ('CREATE TABLE AS', 'SELECT INTO', 'CREATE EXTENSION', 'ALTER EXTENSION') EXECUTE FUNCTION daymill_archive.begun();
CREATE EVENT TRIGGER daymill_archive_rewritten ON table_rewrite EXECUTE FUNCTION daymill_archive.rewritten();
CREATE EVENT TRIGGER daymill_archive_dropped ON sql_drop EXECUTE FUNCTION daymill_archive.dropped();
CREATE EVENT TRIGGER daymill_archive_end_called ON ddl_command_end EXECUTE FUNCTION daymill_archive.called();
CREATE EVENT TRIGGER daymill_archive_ended ON ddl_command_end EXECUTE FUNCTION daymill_archive.ended();
ALTER EVENT TRIGGER daymill_archive_begin_called ENABLE ALWAYS;
ALTER EVENT TRIGGER daymill_archive_begun ENABLE ALWAYS;
ALTER EVENT TRIGGER daymill_archive_rewritten ENABLE ALWAYS;
ALTER EVENT TRIGGER daymill_archive_dropped ENABLE ALWAYS;
ALTER EVENT TRIGGER daymill_archive_end_called ENABLE ALWAYS;
ALTER EVENT TRIGGER daymill_archive_ended ENABLE ALWAYS;
