// Package checkup has the checks of views for the doctor: whether the databases that views read can be read, which indexes are missing, and
// which roles may write to the views' tables.
package checkup

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
	"github.com/daymill/daymill/internal/view"
	"github.com/daymill/daymill/internal/view/definition"
)

// Checks returns the checks of views for [doctor.Config]. open returns the databases of views; each check closes them.
func Checks(open func(db *postgres.DB) *view.Databases) []doctor.Check {
	return []doctor.Check{
		{ID: "view_database", Installed: true, Do: func(ctx context.Context, e *doctor.Examination, _ pgx.Tx) error {
			databases := open(e.DB)
			defer databases.Close()
			return lookAtDatabases(ctx, e, &view.Engine{DB: e.DB, Databases: databases})
		}},
		{ID: "view_index", Installed: true, Do: func(ctx context.Context, e *doctor.Examination, _ pgx.Tx) error {
			databases := open(e.DB)
			defer databases.Close()
			return lookAtIndexes(ctx, e, &view.Engine{DB: e.DB, Databases: databases})
		}},
		{ID: "view_rights", Installed: true, Do: lookAtRights},
	}
}

// last returns the newest table of each view.
func last(ctx context.Context, on postgres.DBTX) (versions []view.Version, err error) {
	views, err := view.List(ctx, on)
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		of, err := view.Versions(ctx, on, v.ID)
		if err != nil {
			return nil, err
		}
		if len(of) > 0 {
			versions = append(versions, of[len(of)-1])
		}
	}
	return versions, nil
}

// lookAtDatabases checks whether the tables of views can be read in their databases, and their changes captured.
func lookAtDatabases(ctx context.Context, e *doctor.Examination, engine *view.Engine) error {
	versions, err := last(ctx, e.DB)
	if err != nil {
		return err
	}
	opened, said := map[string]bool{}, map[string]bool{}
	good := 0
	for _, v := range versions {
		for _, name := range v.Plan.Definition.Databases() {
			if _, tried := opened[name]; tried {
				continue
			}
			if opened[name], err = look(ctx, e, engine.Databases, name); err != nil {
				return err
			}
		}
		lacks, err := engine.Rights(ctx, v.Plan, func(database string) bool { return opened[database] })
		if err != nil {
			e.Addf(doctor.Failure, "could not find out whether the tables of view %s can be read", v.Plan.Definition.Name)
			continue
		}
		unread := map[int]bool{}
		for _, lack := range lacks {
			if lack.Table >= 0 {
				unread[lack.Table] = true
			}
			if !said[lack.Sentence] {
				e.Addf(doctor.Failure, "view %s: %s", v.Plan.Definition.Name, lack.Sentence)
			}
			said[lack.Sentence] = true
		}
		for _, t := range v.Plan.Definition.Tables {
			if opened[t.Database] {
				good++
			}
		}
		good -= len(unread)
	}
	if good > 0 {
		e.Addf(doctor.OK, "%s of %s can be read", text.Plural(int64(good), "table"), text.Plural(int64(len(versions)), "view"))
	}
	return nil
}

// look opens a database, and reports whether that worked. If it did not, look adds a finding, which has no host and no user.
func look(ctx context.Context, e *doctor.Examination, databases *view.Databases, name string) (bool, error) {
	if name == definition.App {
		return true, nil
	}
	variable, err := databases.Variable(ctx, name)
	if err != nil {
		return false, err
	}
	if url, set := databases.Lookup(variable[1:]); !set || url == "" {
		e.Addf(doctor.Warning, "the environment variable %s of database %s is not set here: workers need it", variable, name)
		return false, nil
	}
	if _, _, err := databases.Open(ctx, name); err != nil {
		e.Addf(doctor.Failure, "database %s, whose URL is in %s, cannot be opened: views that read it are not kept up to date", name, variable)
		return false, nil //nolint:nilerr // A finding was added.
	}
	return true, nil
}

// lookAtIndexes finds columns that refreshes search by and that no index begins with.
func lookAtIndexes(ctx context.Context, e *doctor.Examination, engine *view.Engine) error {
	versions, err := last(ctx, e.DB)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, v := range versions {
		notes, err := engine.Notes(ctx, v.Plan)
		if err != nil {
			e.Addf(doctor.Note, "the indexes of view %s could not be checked, because a database cannot be opened", v.Plan.Definition.Name)
			continue
		}
		for _, note := range notes {
			if !seen[note] {
				e.Addf(doctor.Warning, "view %s: %s", v.Plan.Definition.Name, note)
			}
			seen[note] = true
		}
	}
	return nil
}

// lookAtRights finds roles that may write to tables of views, because such writes make a table differ from its SELECT.
func lookAtRights(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT pg_catalog.format('%s may write to views.%s', CASE WHEN a.grantee = 0 THEN 'every role' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END, c.relname)
		FROM pg_catalog.pg_class AS c
		INNER JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'views'
		CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a
		WHERE c.relkind = 'r' AND a.grantee <> c.relowner AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
		ORDER BY 1 LIMIT 100`)
	if err != nil {
		return fmt.Errorf("find out who may write to views: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("find out who may write to views: %w", err)
	}
	for _, sentence := range found {
		e.Addf(doctor.Warning, "%s, and such writes stay until their key is refreshed or verified: REVOKE it", sentence)
	}
	return nil
}
