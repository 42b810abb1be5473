// Package checkup has capture's checks for the doctor: how the application's database is read, which tables cannot be captured, and
// who may read changes.
package checkup

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/doctor"
)

// Checks returns capture's checks for [doctor.Config].
func Checks() []doctor.Check {
	return []doctor.Check{
		{ID: "capture", Installed: true, Do: lookAtStream},
		{ID: "capture_rights", Installed: true, Do: lookAtRights},
	}
}

// lookAtStream checks the application's database. Only workers have the URLs of other databases.
func lookAtStream(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
	c, err := stream.Get(ctx, tx, "app")
	if err != nil || len(c.Tables) == 0 {
		return err
	}
	mode, reason, err := stream.Choose(ctx, e.DB, c.Tables)
	switch {
	case err != nil:
		e.Addf(doctor.Failure, "changes cannot be captured: %s", err)
	case mode == stream.ModeTrigger:
		e.Addf(doctor.Warning, "changes are captured by triggers, which slow down writes: %s", reason)
	default:
		e.Addf(doctor.OK, "changes are captured from the WAL")
	}
	tables, err := table.Find(ctx, tx, c.Tables)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.Reason != "" {
			e.Addf(doctor.Warning, "table %s is not captured: %s", t, t.Reason)
		}
	}
	return nil
}

// lookAtRights lists the roles that may use the schema capture, and so may be able to poll changes.
func lookAtRights(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		SELECT r.rolname::text FROM pg_catalog.pg_roles AS r
		WHERE NOT r.rolsuper AND r.oid <> (SELECT n.nspowner FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'capture')
			AND r.rolname !~ '^pg_' AND pg_catalog.has_schema_privilege(r.oid, 'capture', 'USAGE')
		ORDER BY 1 LIMIT 100`)
	if err != nil {
		return fmt.Errorf("find out who may read changes: %w", err)
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("find out who may read changes: %w", err)
	}
	if len(roles) > 0 {
		e.Addf(doctor.OK, "these roles may use the schema capture, so they may be able to poll changes: %q", roles)
	}
	return nil
}
