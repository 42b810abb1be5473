package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/internal/schema"
)

// schema looks for migrations that are missing, and reads the installation for those who come after.
func (e *examination) schema(ctx context.Context, _ pgx.Tx) error {
	all, err := schema.Status(ctx, e.DB)
	if err != nil && !postgres.IsUnreachable(err) && postgres.Code(err) == "" {
		e.addf(Failure, "%s", err).mendf("deploy the version of daymill that migrated the database")
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
		e.addf(Failure, "Daymill is not installed in this database").mendf("daymill migrate")
		return nil
	case 0:
	default:
		e.addf(Failure, "%d of %d migrations are missing: this daymill refuses to work on an older schema", pending, len(all)).
			mendf("daymill migrate")
		return nil
	}
	if e.installation, err = schema.Get(ctx, e.DB); err != nil {
		if postgres.Code(err) == "" && !postgres.IsUnreachable(err) {
			e.addf(Failure, "%s: dates cannot be told", err).mendf("daymill migrate --timezone UTC")
			return nil
		}
		return err
	}
	e.installed = true
	e.addf(OK, "all %d migrations are applied; entities are %s, the reporting zone is %s", len(all), e.installation.EntityType,
		e.installation.TimeZone)
	return nil
}

func (e *examination) river(context.Context, pgx.Tx) error {
	switch {
	case e.River.Err != nil:
		return e.River.Err
	case e.River.Applied == 0:
		e.addf(Failure, "River's tables are missing in schema %s: there is no queue", e.River.Schema).mendf("daymill migrate")
	case e.River.Applied < e.River.Newest:
		e.addf(Failure, "River's tables are at version %d and this daymill needs %d: its statements fail on older tables",
			e.River.Applied, e.River.Newest).mendf("daymill migrate")
	case e.River.Applied > e.River.Newest:
		e.addf(Warning, "River's tables are at version %d, newer than the %d this daymill was built for", e.River.Applied, e.River.Newest).
			mendf("deploy a newer daymill")
	default:
		e.addf(OK, "River's tables in schema %s are at version %d", e.River.Schema, e.River.Applied)
	}
	return nil
}

// rights looks whether this role may do what runs do.
func (e *examination) rights(ctx context.Context, tx pgx.Tx) error {
	var role, owner string
	var owns, super bool
	var lacking, uncallable []string
	err := tx.QueryRow(ctx, `
		SELECT quote_ident(current_user), quote_ident(pg_get_userbyid(n.nspowner)), pg_has_role(n.nspowner, 'USAGE'),
			(SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user),
			ARRAY(
				SELECT format('%I.%I', s.nspname, c.relname)
				FROM pg_catalog.pg_class AS c
				INNER JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
				WHERE (s.oid = n.oid AND c.relkind = 'r' OR s.nspname = $1 AND c.relname IN ('river_job', 'river_leader', 'river_queue'))
					AND NOT (has_schema_privilege(s.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
						AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
						AND has_table_privilege(c.oid, 'DELETE'))
				ORDER BY 1
			),
			ARRAY(
				SELECT p.oid::regprocedure::text
				FROM pg_catalog.pg_proc AS p
				WHERE p.pronamespace = n.oid AND p.prorettype <> 'trigger'::regtype AND NOT has_function_privilege(p.oid, 'EXECUTE')
				ORDER BY 1
			)
		FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'analytics'`, e.installation.RiverSchema).
		Scan(&role, &owner, &owns, &super, &lacking, &uncallable)
	switch {
	case err != nil:
		return fmt.Errorf("look at the role: %w", err)
	case len(lacking) > 0:
		e.addf(Failure, "the role %s may not write %s: runs fail", role, strings.Join(lacking, ", ")).
			mendf("GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s;", strings.Join(lacking, ", "), role)
	case len(uncallable) > 0:
		e.addf(Failure, "the role %s may not call %s: runs fail", role, strings.Join(uncallable, ", ")).
			mendf("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics TO %s;", role)
	case super:
		e.addf(Note, "the role %s is a superuser: Daymill needs only to own its schema and to read the events", role).
			mendf("CREATE ROLE daymill LOGIN PASSWORD '…'; and what docs/operations.md grants it")
	case !owns:
		e.addf(Warning, "the role %s does not own the schema analytics: it can work, and not migrate", role).
			mendf("GRANT %s TO %s;", owner, role)
	default:
		e.addf(OK, "the role %s owns the schema analytics and is no superuser", role)
	}
	return nil
}

func (e *examination) source(ctx context.Context, _ pgx.Tx) error {
	report, err := source.Check(ctx, e.DB, e.installation)
	if err != nil {
		return err
	}
	levels := map[source.Level]Level{source.OK: OK, source.Warning: Warning, source.Failure: Failure}
	for _, f := range report {
		finding := e.addf(levels[f.Level], "%s", f.Sentence)
		if len(f.Mend) > 0 {
			finding.Mend = f.Mend[0]
		}
	}
	return nil
}

// watch looks at the triggers for late events.
func (e *examination) watch(ctx context.Context, _ pgx.Tx) error {
	all, err := source.Watches(ctx, e.DB)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		e.addf(Note, "no table is watched: whoever writes events of dates that are over has to enqueue them").mendf("daymill source watch")
	}
	for _, w := range all {
		again := "daymill source watch --table '" + w.Table + "' --time '" + w.Time + "'"
		switch {
		case w.Time == "":
			e.addf(Failure, "%s has lost the column that its triggers read: late events are not noticed", w.Table).
				mendf("daymill source unwatch --table '%s', and daymill source watch with the column that has the instant", w.Table)
		case w.Unsound:
			e.addf(Failure, "the triggers on %s are missing, disabled or changed: late events are not noticed", w.Table).
				mendf("daymill migrate")
		case len(w.Unwatched) > 0:
			e.addf(Warning, "%d of %d tables of %s have not all of the triggers: late events in %s are not noticed", len(w.Unwatched),
				w.Tables, w.Table, w.Unwatched[0]).mendf("%s", again)
		case w.Renamed != "":
			e.addf(Warning, "%s.%s was %s when the triggers were made: they look it up at every statement", w.Table, w.Time, w.Renamed).
				mendf("%s", again)
		default:
			e.addf(OK, "%s is watched: late events are rolled up without being told", w.Table)
		}
	}
	return nil
}

// health asks every capability how it stands, as `daymill status` and the page do.
func (e *examination) health(ctx context.Context, _ pgx.Tx) error {
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
		e.addf(level, "%s", found.Sentence).mendf("%s", found.Command)
	}
	return nil
}

// seconds is a duration of so many, whole.
func seconds(number *float64) time.Duration {
	if number == nil {
		return 0
	}
	return time.Duration(*number * float64(time.Second)).Round(time.Second)
}
