package ddl

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/postgres"
)

// If the role may not create event triggers, nothing writes schema changes to the WAL. The archive then
// compares versions of the schema: a new version means that the archive lacks a change, and needs a new base.

// versionSQL computes the version from the xmin of the catalogs' rows, which changes whenever a statement
// writes a row, even if another statement undoes it. For pg_class it uses the columns instead, because
// TRUNCATE, REINDEX and VACUUM FULL write its rows, too.
const versionSQL = `
	WITH own AS (
		SELECT c.* FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
	), thing (text) AS (
		SELECT pg_catalog.concat_ws(' ', 'class', c.oid, c.relname, c.relnamespace, c.relowner, c.relam, c.reltablespace, c.relpersistence, c.relkind,
			c.relreplident, c.relrowsecurity, c.relforcerowsecurity, c.relispartition, c.reloptions, c.relacl, c.relpartbound) FROM own AS c
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'attribute', a.attrelid, a.attnum, a.xmin) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid IN (SELECT o.oid FROM own AS o)
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'attrdef', a.oid, a.xmin) FROM pg_catalog.pg_attrdef AS a WHERE a.adrelid IN (SELECT o.oid FROM own AS o)
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'constraint', a.oid, a.xmin) FROM pg_catalog.pg_constraint AS a WHERE a.oid >= 16384 AND (a.conrelid = 0 OR a.conrelid IN (SELECT o.oid FROM own AS o))
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'index', a.indexrelid, a.xmin) FROM pg_catalog.pg_index AS a WHERE a.indrelid IN (SELECT o.oid FROM own AS o)
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'trigger', a.oid, a.xmin) FROM pg_catalog.pg_trigger AS a WHERE a.tgrelid IN (SELECT o.oid FROM own AS o)
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'rewrite', a.oid, a.xmin) FROM pg_catalog.pg_rewrite AS a WHERE a.ev_class IN (SELECT o.oid FROM own AS o)
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'policy', a.oid, a.xmin) FROM pg_catalog.pg_policy AS a WHERE a.polrelid IN (SELECT o.oid FROM own AS o)
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'inherits', a.inhrelid, a.xmin) FROM pg_catalog.pg_inherits AS a WHERE a.inhrelid IN (SELECT o.oid FROM own AS o)
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'sequence', a.seqrelid, a.xmin) FROM pg_catalog.pg_sequence AS a WHERE a.seqrelid IN (SELECT o.oid FROM own AS o)
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'statistic', a.oid, a.xmin) FROM pg_catalog.pg_statistic_ext AS a WHERE a.stxrelid IN (SELECT o.oid FROM own AS o)
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'namespace', a.oid, a.xmin) FROM pg_catalog.pg_namespace AS a
			WHERE (a.oid >= 16384 OR a.oid = 2200) AND a.nspname NOT LIKE 'pg\_%' -- 2200 is the schema that initdb creates as public.
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'type', a.oid, a.xmin) FROM pg_catalog.pg_type AS a
			INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = a.typnamespace WHERE a.oid >= 16384 AND n.nspname NOT LIKE 'pg\_%'
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'proc', a.oid, a.xmin) FROM pg_catalog.pg_proc AS a
			INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = a.pronamespace WHERE a.oid >= 16384 AND n.nspname NOT LIKE 'pg\_temp%'
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'description', a.classoid, a.objoid, a.objsubid, a.xmin) FROM pg_catalog.pg_description AS a WHERE a.objoid >= 16384 OR a.objoid = 2200
		UNION ALL SELECT CASE WHEN pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL THEN -- Postgres 14 does not have it.
			pg_catalog.query_to_xml('SELECT x.oid, x.xmin FROM pg_catalog.pg_publication_namespace AS x ORDER BY x.oid', true, false, '')::text END
		-- A dump has the rights on objects of the system that differ from those that initdb gave.
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'system proc', a.oid, a.proacl) FROM pg_catalog.pg_proc AS a WHERE a.oid < 16384 AND a.proacl IS NOT NULL
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'system class', a.oid, a.relacl) FROM pg_catalog.pg_class AS a WHERE a.oid < 16384 AND a.relacl IS NOT NULL
		UNION ALL SELECT pg_catalog.concat_ws(' ', a.class, a.oid, a.xmin) FROM (
			SELECT 'aggregate' AS class, x.aggfnoid::oid AS oid, x.xmin FROM pg_catalog.pg_aggregate AS x
			UNION ALL SELECT 'am', x.oid, x.xmin FROM pg_catalog.pg_am AS x
			UNION ALL SELECT 'amop', x.oid, x.xmin FROM pg_catalog.pg_amop AS x
			UNION ALL SELECT 'amproc', x.oid, x.xmin FROM pg_catalog.pg_amproc AS x
			UNION ALL SELECT 'cast', x.oid, x.xmin FROM pg_catalog.pg_cast AS x
			UNION ALL SELECT 'collation', x.oid, x.xmin FROM pg_catalog.pg_collation AS x
			UNION ALL SELECT 'conversion', x.oid, x.xmin FROM pg_catalog.pg_conversion AS x
			UNION ALL SELECT 'default acl', x.oid, x.xmin FROM pg_catalog.pg_default_acl AS x
			UNION ALL SELECT 'enum', x.oid, x.xmin FROM pg_catalog.pg_enum AS x
			UNION ALL SELECT 'event trigger', x.oid, x.xmin FROM pg_catalog.pg_event_trigger AS x
			UNION ALL SELECT 'extension', x.oid, x.xmin FROM pg_catalog.pg_extension AS x
			UNION ALL SELECT 'foreign data wrapper', x.oid, x.xmin FROM pg_catalog.pg_foreign_data_wrapper AS x
			UNION ALL SELECT 'foreign server', x.oid, x.xmin FROM pg_catalog.pg_foreign_server AS x
			UNION ALL SELECT 'foreign table', x.ftrelid, x.xmin FROM pg_catalog.pg_foreign_table AS x
			UNION ALL SELECT 'language', x.oid, x.xmin FROM pg_catalog.pg_language AS x
			UNION ALL SELECT 'opclass', x.oid, x.xmin FROM pg_catalog.pg_opclass AS x
			UNION ALL SELECT 'operator', x.oid, x.xmin FROM pg_catalog.pg_operator AS x
			UNION ALL SELECT 'opfamily', x.oid, x.xmin FROM pg_catalog.pg_opfamily AS x
			UNION ALL SELECT 'publication', x.oid, x.xmin FROM pg_catalog.pg_publication AS x
			UNION ALL SELECT 'publication table', x.oid, x.xmin FROM pg_catalog.pg_publication_rel AS x
			UNION ALL SELECT 'range', x.rngtypid, x.xmin FROM pg_catalog.pg_range AS x
			UNION ALL SELECT 'transform', x.oid, x.xmin FROM pg_catalog.pg_transform AS x
			UNION ALL SELECT 'ts config', x.oid, x.xmin FROM pg_catalog.pg_ts_config AS x
			UNION ALL SELECT 'ts config map', x.mapcfg, x.xmin FROM pg_catalog.pg_ts_config_map AS x
			UNION ALL SELECT 'ts dict', x.oid, x.xmin FROM pg_catalog.pg_ts_dict AS x
			UNION ALL SELECT 'ts parser', x.oid, x.xmin FROM pg_catalog.pg_ts_parser AS x
			UNION ALL SELECT 'ts template', x.oid, x.xmin FROM pg_catalog.pg_ts_template AS x
		) AS a WHERE a.oid >= 16384
	)
	SELECT pg_catalog.concat_ws('-', pg_catalog.count(*), coalesce(pg_catalog.sum(pg_catalog.hashtextextended(t.text COLLATE "C", 0)::numeric), 0)) FROM thing AS t`

// Version returns the version of the schema. It changes with everything that a dump of the schema has.
func Version(ctx context.Context, on postgres.DBTX) (version string, err error) {
	if err := on.QueryRow(ctx, versionSQL).Scan(&version); err != nil {
		return "", fmt.Errorf("read the version of the schema: %w", err)
	}
	return version, nil
}

// publishSQL returns the statements that add the missing tables to a publication, and that let updates and
// deletes identify rows.
const publishSQL = `
	WITH own AS (
		SELECT c.*, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
		FROM pg_catalog.pg_class AS c INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
	)
	SELECT s.statement FROM (
		SELECT 1 AS step, pg_catalog.format('CREATE PUBLICATION %I WITH (publish = ''insert, update, delete, truncate'')', $1::text) AS statement
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname = $1)
		UNION ALL SELECT 2, 'ALTER TABLE ONLY ' || o.name || ' REPLICA IDENTITY FULL' FROM own AS o
		WHERE CASE o.relreplident
			WHEN 'f' THEN false
			WHEN 'n' THEN true
			WHEN 'i' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = o.oid AND i.indisreplident AND i.indisvalid)
			ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = o.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate)
		END
		UNION ALL SELECT 3, pg_catalog.format('ALTER PUBLICATION %I ADD TABLE ONLY %s', $1::text, o.name) FROM own AS o
		WHERE o.relkind = 'r' AND NOT EXISTS (
			SELECT FROM pg_catalog.pg_publication_rel AS r INNER JOIN pg_catalog.pg_publication AS p ON p.oid = r.prpubid
			WHERE p.pubname = $1 AND r.prrelid = o.oid
		)
	) AS s ORDER BY s.step`

// Publish adds all tables to a publication, and returns the version of the schema that the publication has.
// The role must own the tables, but it does not need the rights that FOR ALL TABLES requires.
func Publish(ctx context.Context, on postgres.DBTX, publication string) (version string, err error) {
	const tries = 20 // A table may be created meanwhile.
	for range tries {
		if version, err = Version(ctx, on); err != nil {
			return "", err
		}
		rows, err := on.Query(ctx, publishSQL, publication)
		if err != nil {
			return "", fmt.Errorf("list the tables to publish: %w", err)
		}
		statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return "", fmt.Errorf("list the tables to publish: %w", err)
		}
		if len(statements) == 0 {
			return version, nil
		}
		for _, statement := range statements {
			if _, err := on.Exec(ctx, statement); err != nil {
				return "", fmt.Errorf("%s: %w: the role must own every table, or be a superuser", statement, err)
			}
		}
	}
	return "", errors.New("tables are created faster than they can be published: try again later")
}
