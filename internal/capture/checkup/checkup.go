// Package checkup has capture's checks for the doctor: how the captured databases are read, which tables cannot be captured, and
// who may read changes.
package checkup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/capture/stream"
	"github.com/daymill/daymill/internal/capture/table"
	"github.com/daymill/daymill/internal/doctor"
	"github.com/daymill/daymill/internal/postgres"
)

// Open opens a captured database other than the application's, whose URL is in an environment variable. It returns false if the
// variable is not set.
type Open func(ctx context.Context, name, variable string) (source *postgres.DB, known bool, err error)

// patience is how long the doctor waits for another database.
const patience = 5 * time.Second

// app is the name of the application's database, which is Daymill's own.
const app = "app"

// Checks returns capture's checks for [doctor.Config].
func Checks(open Open) []doctor.Check {
	return []doctor.Check{
		{ID: "capture", Installed: true, Do: func(ctx context.Context, e *doctor.Examination, tx pgx.Tx) error {
			return lookAtStreams(ctx, e, tx, open)
		}},
		{ID: "capture_rights", Installed: true, Do: lookAtRights},
	}
}

// lookAtStreams checks every captured database.
func lookAtStreams(ctx context.Context, e *doctor.Examination, tx pgx.Tx, open Open) error {
	names, err := stream.Names(ctx, tx)
	if err != nil {
		return err
	}
	for _, name := range names {
		c, err := stream.Get(ctx, tx, name)
		switch {
		case err != nil:
		case len(c.Tables) == 0:
		case name == app:
			err = lookAtStream(ctx, e, c, "", e.DB)
		default:
			lookElsewhere(ctx, e, c, open)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lookElsewhere checks a database other than the application's.
func lookElsewhere(ctx context.Context, e *doctor.Examination, c stream.Config, open Open) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	source, known, err := open(ctx, c.Name, c.URL)
	if err == nil && !known {
		e.Addf(doctor.Note, "database %s was not checked, because %s is not set here: run daymill doctor where the workers run", c.Name, c.URL)
		return
	}
	if err == nil {
		defer source.Close()
		err = lookAtStream(ctx, e, c, "database "+c.Name+": ", source)
	}
	if err != nil && e.Discreet { // The error may name the host.
		err = errors.New("run daymill doctor to see why")
	}
	if err != nil {
		e.Addf(doctor.Failure, "database %s cannot be read, so its changes cannot be captured: %s", c.Name, err)
	}
}

// lookAtStream checks a database. Its findings begin with the text of.
func lookAtStream(ctx context.Context, e *doctor.Examination, c stream.Config, of string, source *postgres.DB) error {
	mode, reason, err := stream.Choose(ctx, source, c.Tables)
	switch {
	case errors.Is(err, stream.ErrNoMode):
		e.Addf(doctor.Failure, "%schanges cannot be captured: %s", of, err)
	case err != nil:
		return err
	case mode == stream.ModeTrigger:
		e.Addf(doctor.Warning, "%schanges are captured by triggers, which slow down writes: %s", of, reason)
	default:
		e.Addf(doctor.OK, "%schanges are captured from the WAL", of)
	}
	tables, err := table.Find(ctx, source, c.Tables)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.Reason != "" {
			e.Addf(doctor.Warning, "%stable %s is not captured: %s", of, t, t.Reason)
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
