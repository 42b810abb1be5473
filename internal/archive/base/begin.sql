-- Objects that a restore needs while it runs, in a separate schema that end.sql drops.
CREATE SCHEMA daymill_restore;

-- The archive, base and position of this restore, and the parts of the base that are done: an interrupted restore continues there.
CREATE TABLE daymill_restore.restore (archive text NOT NULL, base text NOT NULL, position text NOT NULL, at timestamptz NOT NULL);
CREATE TABLE daymill_restore.done (part text PRIMARY KEY);
-- If the base has a publication of all tables, it refuses to update a table without a key.
ALTER TABLE daymill_restore.restore REPLICA IDENTITY FULL;

-- Triggers and rules with ENABLE ALWAYS or ENABLE REPLICA would run again for rows for which they already ran in the source. So they are
-- disabled while rows are written, and enabled while a schema change runs, which may change them. Event triggers are disabled until the
-- end, because no statement in an archive changes them.
CREATE TABLE daymill_restore.asleep (
    kind text NOT NULL, -- trigger, rule or event trigger
    id oid NOT NULL,
    enabled text NOT NULL,
    PRIMARY KEY (kind, id)
);

-- all_enabled lists them, with the statement that changes each: ENABLE ALWAYS, ENABLE REPLICA or DISABLE goes between its two parts.
CREATE VIEW daymill_restore.all_enabled AS
SELECT 'trigger' AS kind, t.oid AS id, t.tgenabled::text AS enabled,
    format('ALTER TABLE ONLY %I.%I ', n.nspname, c.relname) AS head, format(' TRIGGER %I', t.tgname) AS tail
FROM pg_catalog.pg_trigger AS t INNER JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
UNION ALL
SELECT 'rule', r.oid, r.ev_enabled::text, format('ALTER TABLE ONLY %I.%I ', n.nspname, c.relname), format(' RULE %I', r.rulename)
FROM pg_catalog.pg_rewrite AS r INNER JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
UNION ALL
SELECT 'event trigger', e.oid, e.evtenabled::text, format('ALTER EVENT TRIGGER %I ', e.evtname), ''
FROM pg_catalog.pg_event_trigger AS e;

CREATE FUNCTION daymill_restore.calm() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    the record;
BEGIN
    FOR the IN SELECT * FROM daymill_restore.all_enabled AS e WHERE e.enabled IN ('A', 'R') ORDER BY e.kind LOOP -- Event triggers first.
        INSERT INTO daymill_restore.asleep (kind, id, enabled) VALUES (the.kind, the.id, the.enabled);
        EXECUTE the.head || 'DISABLE' || the.tail;
    END LOOP;
END
$$;

CREATE FUNCTION daymill_restore.wake() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    the record;
BEGIN
    IF NOT EXISTS (SELECT FROM daymill_restore.asleep AS s WHERE s.kind <> 'event trigger') THEN
        RETURN;
    END IF;
    FOR the IN
        SELECT e.head, e.tail, s.enabled FROM daymill_restore.asleep AS s
        INNER JOIN daymill_restore.all_enabled AS e ON e.kind = s.kind AND e.id = s.id
        WHERE s.kind <> 'event trigger'
    LOOP
        EXECUTE the.head || CASE the.enabled WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END || the.tail;
    END LOOP;
    DELETE FROM daymill_restore.asleep AS s WHERE s.kind <> 'event trigger';
END
$$;

-- role creates a role that was made after the base, without a password, if there is none of that name.
CREATE FUNCTION daymill_restore.role(the_name text, the_attributes text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = the_name) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN %s', the_name, the_attributes);
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- Another session has created it.
END
$$;

-- lend gives a role the rights that it had when a statement ran, unless it has them: it becomes a member of roles, the owner of the database, or
-- may create schemas. lend_all makes it a superuser. take_back ends that, in the same transaction, so that nobody else sees it.
CREATE TABLE daymill_restore.lent (back text NOT NULL);
ALTER TABLE daymill_restore.lent REPLICA IDENTITY FULL;
CREATE FUNCTION daymill_restore.lend(the_role text, the_names text[], creates boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    the_name text;
    the_owner text;
    the_rights aclitem[];
BEGIN
    FOR the_name IN SELECT r.rolname FROM pg_roles AS r WHERE r.rolname = ANY (the_names) AND NOT pg_has_role(the_role, r.oid, 'MEMBER') LOOP
        IF the_name = 'pg_database_owner' THEN
            SELECT r.rolname, d.datacl INTO the_owner, the_rights FROM pg_database AS d INNER JOIN pg_roles AS r ON r.oid = d.datdba WHERE d.datname = current_database();
            EXECUTE format('ALTER DATABASE %I OWNER TO %I', current_database(), the_role);
            -- A new owner takes over the rights of the old one, and both lose what they had besides.
            INSERT INTO daymill_restore.lent (back)
            SELECT format('ALTER DATABASE %I OWNER TO %I', current_database(), the_owner) || coalesce(
                format('; REVOKE ALL ON DATABASE %I FROM %I, %I', current_database(), the_role, the_owner) || string_agg(
                    format('; GRANT %s ON DATABASE %I TO %I', a.privilege_type, current_database(), r.rolname) || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END,
                    '' ORDER BY r.rolname, a.privilege_type
                ), '')
            FROM aclexplode(the_rights) AS a INNER JOIN pg_roles AS r ON r.oid = a.grantee WHERE r.rolname IN (the_role, the_owner);
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('GRANT %I TO %I', the_name, the_role);
            INSERT INTO daymill_restore.lent (back) VALUES (format('REVOKE %I FROM %I', the_name, the_role));
        EXCEPTION WHEN invalid_grant_operation THEN
            NULL; -- Here, that role is a member of this one.
        END;
    END LOOP;
    IF creates AND NOT has_database_privilege(the_role, current_database(), 'CREATE') THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO %I', current_database(), the_role);
        INSERT INTO daymill_restore.lent (back) VALUES (format('REVOKE CREATE ON DATABASE %I FROM %I', current_database(), the_role));
    END IF;
END
$$;

CREATE FUNCTION daymill_restore.lend_all(the_role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = the_role AND NOT r.rolsuper) THEN
        EXECUTE format('ALTER ROLE %I SUPERUSER', the_role);
        INSERT INTO daymill_restore.lent (back) VALUES (format('ALTER ROLE %I NOSUPERUSER', the_role));
    END IF;
END
$$;

CREATE FUNCTION daymill_restore.take_back() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    the_statement text;
BEGIN
    FOR the_statement IN DELETE FROM daymill_restore.lent RETURNING back LOOP
        EXECUTE the_statement;
    END LOOP;
END
$$;

-- set sets a setting that a statement ran with, if this machine allows the value. It may have other locales.
CREATE FUNCTION daymill_restore.set(the_name text, the_value text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_catalog.set_config(the_name, the_value, true);
EXCEPTION WHEN invalid_parameter_value THEN
    RAISE WARNING 'a statement ran with % = %, which is not on this machine', the_name, the_value;
END
$$;
