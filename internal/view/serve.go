package view

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/view/plan"
)

// build creates a version, its empty table, and the task that fills it.
func (e *Engine) build(ctx context.Context, tx pgx.Tx, view int64, made *plan.Plan, asked asked) (task int64, err error) {
	queries := db.New(tx)
	document, err := marshal(made)
	if err != nil {
		return 0, err
	}
	id, err := queries.VersionInsert(ctx, db.VersionInsertParams{ViewID: view, Plan: document})
	if err != nil {
		return 0, fmt.Errorf("create a table of view %s: %w", made.Definition.Name, err)
	}
	table := fmt.Sprintf("_daymill_%d", id)
	made.Mirror(id)
	total, err := rows(ctx, tx, made)
	if err != nil {
		return 0, err
	}
	made.Filling = total <= mostFilled && (len(made.Definition.Search) == 0 || total <= mostSearched)
	if document, err = marshal(made); err != nil {
		return 0, err
	}
	if err := queries.VersionTable(ctx, db.VersionTableParams{ID: id, TableName: table, Plan: document}); err != nil {
		return 0, fmt.Errorf("create a table of view %s: %w", made.Definition.Name, err)
	}
	if err := e.makeMirrors(ctx, tx, made); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, made.CreateTable(table)); err != nil {
		return 0, fmt.Errorf("create a table of view %s: %w", made.Definition.Name, err)
	}
	if !made.Filling {
		for _, statement := range made.CreateIndexes(table) {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return 0, fmt.Errorf("create an index of view %s: %w", made.Definition.Name, err)
			}
		}
	}
	task, err = queries.ViewTaskInsert(ctx, db.ViewTaskInsertParams{
		ViewID: view, VersionID: &id, Kind: TaskBuild, Total: total, Actor: asked.Actor, Via: asked.Via,
	})
	if err != nil {
		return 0, fmt.Errorf("insert a task: %w", err)
	}
	return task, nil
}

// rows estimates how many rows the root has; 0 if it is in another database.
func rows(ctx context.Context, tx pgx.Tx, made *plan.Plan) (total int64, err error) {
	if made.Sources[0].Mirror != "" {
		return 0, nil
	}
	err = tx.QueryRow(ctx, "SELECT greatest(reltuples, 0)::bigint FROM pg_catalog.pg_class WHERE oid = $1", made.Sources[0].OID).Scan(&total)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("estimate the rows of %s: %w", made.Definition.Tables[0].Alias(), err)
	}
	return total, nil
}

// serve renames a table that was built to the view's name. In the same transaction, it drops the old table, and grants the new one to all
// roles that could read the old one.
func serve(ctx context.Context, tx pgx.Tx, built Version) error {
	if built.State == Serving {
		return nil
	}
	if err := lock(ctx, tx, built.View); err != nil {
		return err
	}
	name := built.Plan.Definition.Name
	versions, err := Versions(ctx, tx, built.View)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(versions, func(v Version) bool { return v.ID == built.ID && v.State == Serving }) {
		return nil // Another build of the same table has finished first.
	}
	queries := db.New(tx)
	for _, v := range versions {
		if v.State != Serving {
			continue
		}
		if err := grant(ctx, tx, v.Table, built.Table); err != nil {
			return err
		}
		if err := v.drop(ctx, tx); err != nil {
			return err
		}
		err := queries.ViewTaskCancelVersion(ctx, v.ID)
		if err == nil {
			err = queries.VersionDelete(ctx, v.ID)
		}
		if err != nil {
			return fmt.Errorf("delete the version that served: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, "ALTER TABLE "+plan.Table(built.Table)+" RENAME TO "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("rename the table of view %s: %w", name, err)
	}
	if err := queries.VersionServe(ctx, db.VersionServeParams{ID: built.ID, TableName: name}); err != nil {
		return fmt.Errorf("serve view %s: %w", name, err)
	}
	return nil
}

// drop drops a version's table, and the mirrors that it reads.
func (v Version) drop(ctx context.Context, tx pgx.Tx) error {
	if err := drop(ctx, tx, v.Table); err != nil {
		return err
	}
	for _, source := range v.Plan.Sources {
		if source.Mirror == "" {
			continue
		}
		if _, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+pgx.Identifier{plan.MirrorSchema, source.Mirror}.Sanitize()); err != nil {
			return fmt.Errorf("drop a mirror: %w", err)
		}
	}
	return nil
}

func drop(ctx context.Context, tx pgx.Tx, table string) error {
	_, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+plan.Table(table))
	if server := (*pgconn.PgError)(nil); errors.As(err, &server) && server.Code == pgerrcode.DependentObjectsStillExist {
		return refusef("%s cannot be replaced, because other objects depend on it (%s): drop them, or make them depend on another table", plan.Table(table), server.Detail)
	}
	if err != nil {
		return fmt.Errorf("drop %s: %w", plan.Table(table), err)
	}
	return nil
}

// grantSQL returns statements that give a table the rights, the row security and the comment of another one. A policy that names a column that the
// table does not have is an error, so that nobody sees rows that the policy hides.
const grantSQL = `
WITH old AS (SELECT c.* FROM pg_catalog.pg_class AS c WHERE c.oid = pg_catalog.to_regclass($1)),
acl AS (
    SELECT '' AS columns, a.* FROM old AS c, pg_catalog.aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner
    UNION ALL
    SELECT pg_catalog.format(' (%I)', t.attname), a.* FROM old AS c
    INNER JOIN pg_catalog.pg_attribute AS t ON t.attrelid = c.oid AND NOT t.attisdropped
    INNER JOIN pg_catalog.pg_attribute AS n ON n.attrelid = pg_catalog.to_regclass($2) AND NOT n.attisdropped AND n.attname = t.attname
    CROSS JOIN LATERAL pg_catalog.aclexplode(t.attacl) AS a WHERE a.grantee <> c.relowner
)
SELECT pg_catalog.format('GRANT %s%s ON %s TO %s%s', a.privilege_type, a.columns, $2::text,
    CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM acl AS a
UNION ALL
SELECT pg_catalog.format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname, $2::text,
    CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
    CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
    (
        SELECT pg_catalog.string_agg(CASE WHEN r.oid = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r.oid)) END, ', ')
        FROM pg_catalog.unnest(p.polroles) AS r (oid)
    ),
    ' USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')')
FROM old AS c INNER JOIN pg_catalog.pg_policy AS p ON p.polrelid = c.oid
UNION ALL
SELECT pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', $2::text) FROM old AS c WHERE c.relrowsecurity
UNION ALL
SELECT pg_catalog.format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', $2::text) FROM old AS c WHERE c.relforcerowsecurity
UNION ALL
SELECT pg_catalog.format('COMMENT ON TABLE %s IS %L', $2::text, pg_catalog.obj_description(c.oid, 'pg_class'))
FROM old AS c WHERE pg_catalog.obj_description(c.oid, 'pg_class') IS NOT NULL`

// grant gives all roles their rights on one table also on another, and copies its row security and its comment.
func grant(ctx context.Context, tx pgx.Tx, from, to string) error {
	rows, err := tx.Query(ctx, grantSQL, plan.Table(from), plan.Table(to))
	if err != nil {
		return fmt.Errorf("read the rights on %s: %w", plan.Table(from), err)
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, statement := range statements {
		if err == nil {
			_, err = tx.Exec(ctx, statement)
		}
	}
	if err != nil {
		return fmt.Errorf("grant the rights on %s: %w", plan.Table(to), err)
	}
	return nil
}
