package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/schema"
	"github.com/daymill/daymill/internal/schema/inventory"
	"github.com/daymill/daymill/internal/text"
)

// checkInventory compares what is installed with what the migrations create.
func checkInventory(ctx context.Context, e *Examination, tx pgx.Tx) error {
	faults, err := inventory.Compare(ctx, tx, e.Installation.Inventory())
	if err != nil {
		return err
	}
	for _, fault := range faults {
		text := fault.String() + ": "
		switch fault.Kind {
		case inventory.Trigger:
			text += "requests and the history of jobs are lost without an error"
		case inventory.Sequence:
			text += "inserts fail with a duplicate key"
		case inventory.Rule:
			text += "what is written to the table is changed or discarded"
		default:
			text += "everything that needs it fails or gives wrong results"
		}
		e.Addf(Failure, "%s", text).Fixf("daymill migrate")
	}
	if len(faults) == 0 {
		e.Addf(OK, "everything that the migrations create is installed: functions, triggers, views, indexes, constraints and sequences")
	}
	return nil
}

// checkNames reports who may create objects in Daymill's and River's schemas. Daymill's own connections look up unqualified names
// only in pg_catalog.
func checkNames(ctx context.Context, e *Examination, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		SELECT quote_ident(n.nspname), n.nspname <> 'pg_catalog' AND n.nspname <> ALL ($2), array_agg(DISTINCT g.who ORDER BY g.who)
		FROM pg_catalog.pg_namespace AS n
		CROSS JOIN LATERAL (
			SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END AS who
			FROM aclexplode(n.nspacl) AS x
			WHERE x.privilege_type = 'CREATE' AND x.grantee <> n.nspowner
				AND x.grantee <> (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user)
		) AS g
		WHERE n.nspname IN ('pg_catalog', $1) OR n.nspname = ANY ($2)
		GROUP BY n.nspname ORDER BY n.nspname`, e.Installation.RiverSchema, schema.Own())
	if err != nil {
		return fmt.Errorf("look who may create objects: %w", err)
	}
	var name string
	var river bool
	var roles []string
	found := false
	_, err = pgx.ForEachRow(rows, []any{&name, &river, &roles}, func() error {
		found = true
		level, why := Warning, "a function of theirs there may be called in place of Daymill's"
		if river {
			level, why = Note, "Daymill qualifies the names of functions, but other clients of River may not"
		}
		e.Addf(level, "%s may create objects in the schema %s: %s", strings.Join(roles, ", "), name, why).
			Fixf("REVOKE CREATE ON SCHEMA %s FROM %s;", name, strings.Join(roles, ", "))
		return nil
	})
	if err != nil {
		return fmt.Errorf("look who may create objects: %w", err)
	}
	if !found {
		e.Addf(OK, "names are looked up in pg_catalog alone, and nobody else may create objects in Daymill's schemas")
	}
	return nil
}

// checkNotify reports who else may connect, because NOTIFY needs no right and River's clients obey notifications.
func checkNotify(ctx context.Context, e *Examination, tx pgx.Tx) error {
	var roles []string
	err := tx.QueryRow(ctx, `
		SELECT coalesce(array_agg(quote_ident(r.rolname) ORDER BY r.rolname), '{}')
		FROM pg_catalog.pg_roles AS r
		WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> current_user
			AND has_database_privilege(r.oid, current_database(), 'CONNECT')`).Scan(&roles)
	if err != nil {
		return fmt.Errorf("look who may connect: %w", err)
	}
	if len(roles) == 0 {
		e.Addf(OK, "no other role may connect, so nobody else can pause queues by a notification")
		return nil
	}
	const most = 5
	text := strings.Join(roles[:min(most, len(roles))], ", ")
	if len(roles) > most {
		text += fmt.Sprintf(" and %d more", len(roles)-most)
	}
	e.Addf(Note, "%s may connect. Every role that may connect can pause queues and cancel jobs by a NOTIFY on River's channel, which Postgres lets "+
		"everybody send", text).Fixf("REVOKE CONNECT ON DATABASE %s FROM PUBLIC; and grant it to those who need it", e.database)
	return nil
}

// checkQueue looks for queues that stand still although nobody has paused them in River's table. A notification can cause that.
func checkQueue(ctx context.Context, e *Examination, tx pgx.Tx) error {
	table := func(name string) string { return pgx.Identifier{e.Installation.RiverSchema, name}.Sanitize() }
	rows, err := tx.Query(ctx, `
		SELECT j.queue, extract(epoch FROM now() - min(j.scheduled_at))::float8
		FROM `+table("river_job")+` AS j
		WHERE j.state = 'available' AND j.queue LIKE 'daymill%' AND j.scheduled_at <= now()
			AND NOT EXISTS (SELECT FROM `+table("river_job")+` AS r WHERE r.queue = j.queue AND r.state = 'running')
			AND NOT EXISTS (SELECT FROM `+table("river_queue")+` AS q WHERE q.name IN (j.queue, '*') AND q.paused_at IS NOT NULL)
			AND EXISTS (SELECT FROM daymill.workers AS w WHERE w.last_seen_at > now() - interval '2 minutes')
		GROUP BY j.queue ORDER BY j.queue`)
	if err != nil {
		return fmt.Errorf("look at the queues: %w", err)
	}
	var name string
	var waited float64
	var still []string
	_, err = pgx.ForEachRow(rows, []any{&name, &waited}, func() error {
		if seconds(&waited) <= e.Limits.Waiting {
			return nil
		}
		still = append(still, name)
		e.Addf(Failure, "the queue %s stands still: a job has been ready for %s, workers are alive, and nobody has paused it; a NOTIFY by "+
			"another role may have", name, text.Duration(seconds(&waited))).Fixf("restart the workers, or pause and resume the queue on the page Schedule")
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at the queues: %w", err)
	}
	if len(still) == 0 {
		e.Addf(OK, "no queue stands still")
	}
	return nil
}
