package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

// checkSchema looks for missing migrations, and reads the installation for the checks that follow.
func checkSchema(ctx context.Context, e *Examination, _ pgx.Tx) error {
	all, err := schema.Status(ctx, e.DB)
	if err != nil && !postgres.IsUnreachable(err) && postgres.Code(err) == "" {
		e.Addf(Failure, "%s", err).Fixf("deploy the version of daymill that migrated the database")
		return nil
	}
	if err != nil {
		return err
	}
	pending := 0
	for _, m := range all {
		if m.AppliedAt == nil {
			pending++
		}
	}
	switch pending {
	case len(all):
		e.Addf(Failure, "Daymill is not installed in this database").Fixf("daymill migrate")
		return nil
	case 0:
	default:
		e.Addf(Failure, "%d of %d migrations are missing: this daymill refuses to work on an older schema", pending, len(all)).
			Fixf("daymill migrate")
		return nil
	}
	if e.Installation, err = schema.Get(ctx, e.DB); err != nil {
		if postgres.Code(err) == "" && !postgres.IsUnreachable(err) {
			e.Addf(Failure, "%s: the dates of events cannot be determined", err).Fixf("daymill migrate --timezone UTC")
			return nil
		}
		return err
	}
	e.installed = true
	e.Addf(OK, "all %d migrations are applied; entities are %s, the reporting zone is %s", len(all), e.Installation.EntityType,
		e.Installation.TimeZone)
	return nil
}

func checkRiver(_ context.Context, e *Examination, _ pgx.Tx) error {
	switch {
	case e.River.Err != nil:
		return e.River.Err
	case e.River.Applied == 0:
		e.Addf(Failure, "River's tables are missing in schema %s: there is no queue", e.River.Schema).Fixf("daymill migrate")
	case e.River.Applied < e.River.Newest:
		e.Addf(Failure, "River's tables are at version %d and this daymill needs %d: its statements fail on older tables",
			e.River.Applied, e.River.Newest).Fixf("daymill migrate")
	case e.River.Applied > e.River.Newest:
		e.Addf(Warning, "River's tables are at version %d, newer than the %d this daymill was built for", e.River.Applied, e.River.Newest).
			Fixf("deploy a newer daymill")
	default:
		e.Addf(OK, "River's tables in schema %s are at version %d", e.River.Schema, e.River.Applied)
	}
	return nil
}

// checkRights checks whether this role may do what runs do.
func checkRights(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var role, owner string
	var owns, super bool
	var schemas, lacking, uncallable []string
	err := tx.QueryRow(ctx, `
		SELECT quote_ident(current_user), quote_ident(pg_get_userbyid(n.nspowner)), pg_has_role(n.nspowner, 'USAGE'),
			(SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user),
			ARRAY(
				SELECT quote_ident(s.nspname)
				FROM pg_catalog.pg_namespace AS s
				WHERE (s.nspname = ANY ($2) OR s.nspname = $1) AND NOT has_schema_privilege(s.oid, 'USAGE')
				ORDER BY 1
			),
			ARRAY(
				SELECT format('%I.%I', s.nspname, c.relname)
				FROM pg_catalog.pg_class AS c
				INNER JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
				WHERE (s.nspname = ANY ($2) AND c.relkind IN ('r', 'p') AND NOT c.relispartition OR s.nspname = $1 AND c.relname IN ('river_job', 'river_leader', 'river_queue'))
					AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
						AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
				ORDER BY 1
			),
			ARRAY(
				SELECT p.oid::regprocedure::text
				FROM pg_catalog.pg_proc AS p
				INNER JOIN pg_catalog.pg_namespace AS s ON s.oid = p.pronamespace
				WHERE s.nspname = ANY ($2) AND p.prorettype <> 'trigger'::regtype AND NOT has_function_privilege(p.oid, 'EXECUTE')
				ORDER BY 1
			)
		FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'analytics'`, e.Installation.RiverSchema, schema.Own()).
		Scan(&role, &owner, &owns, &super, &schemas, &lacking, &uncallable)
	switch {
	case err != nil:
		return fmt.Errorf("look at the role: %w", err)
	case len(schemas) > 0:
		e.Addf(Failure, "the role %s may not use the schemas %s: runs fail", role, strings.Join(schemas, ", ")).
			Fixf("GRANT USAGE ON SCHEMA %s TO %s;", strings.Join(schemas, ", "), role)
	case len(lacking) > 0:
		e.Addf(Failure, "the role %s may not write %s: runs fail", role, strings.Join(lacking, ", ")).
			Fixf("GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s;", strings.Join(lacking, ", "), role)
	case len(uncallable) > 0:
		e.Addf(Failure, "the role %s may not call %s: runs fail", role, strings.Join(uncallable, ", ")).
			Fixf("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %s TO %s;", strings.Join(schema.Own(), ", "), role)
	case super:
		e.Addf(Note, "the role %s is a superuser: Daymill needs only to own its schemas and to read the events", role).
			Fixf("CREATE ROLE daymill LOGIN PASSWORD '…'; and what docs/operations.md grants it")
	case !owns:
		e.Addf(Warning, "the role %s does not own Daymill's schemas: it can run the worker, but not migrate", role).
			Fixf("GRANT %s TO %s;", owner, role)
	default:
		e.Addf(OK, "the role %s owns Daymill's schemas and is not a superuser", role)
	}
	return nil
}

// checkHealth adds the findings of every capability, as `daymill status` and the page show them.
func checkHealth(ctx context.Context, e *Examination, _ pgx.Tx) error {
	if e.Health == nil {
		return nil
	}
	findings, err := e.Health(ctx)
	if err != nil {
		return err
	}
	for _, found := range findings {
		if found.Check == "source" || found.Check == "faults" {
			continue
		}
		level := OK
		switch found.Level {
		case health.Bad:
			level = Failure
		case health.Wait:
			level = Warning
		case health.Busy, health.Good:
		}
		e.Addf(level, "%s", found.Sentence).Fixf("%s", found.Command)
	}
	return nil
}

// seconds returns a number of seconds as a duration, rounded to whole seconds.
func seconds(number *float64) time.Duration {
	if number == nil {
		return 0
	}
	return time.Duration(*number * float64(time.Second)).Round(time.Second)
}
