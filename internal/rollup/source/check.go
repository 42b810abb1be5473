package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/schema"
)

const textNone = "analytics.events reads no table"

// None reports whether no source is set.
func (r *Report) None() bool { return len(*r) == 1 && (*r)[0].Sentence == textNone }

// Check checks whether analytics.events has what runs need: the right columns, the right to read it, an index on the instant, and a
// plan for a slice that does not read a whole table. It only plans, and reads one event at most. It checks a view that was written by hand
// in the same way as one that Set created. If a check fails, it skips the checks that depend on it.
func Check(ctx context.Context, conn *postgres.DB, installation schema.Installation) (Report, error) {
	var report Report
	err := conn.Tx(ctx, func(tx pgx.Tx) error {
		// Plans are compared as text, so instants must always be written in the same way.
		if err := postgres.SetLocal(ctx, tx, postgres.Local{"TimeZone": "UTC", "DateStyle": "ISO"}); err != nil {
			return err
		}
		for _, step := range []func(context.Context, pgx.Tx) (Report, error){
			checkView, checkRights, checkEntity(installation.EntityType), checkInstant, checkSlice,
		} {
			findings, err := step(ctx, tx)
			if err != nil {
				return err
			}
			report = append(report, findings...)
			if findings.Failed() {
				return nil
			}
		}
		return nil
	})
	return report, err
}

// checkView checks the view's tables and columns.
func checkView(ctx context.Context, tx pgx.Tx) (Report, error) {
	var report Report
	view, err := lookup(ctx, tx, "analytics", "events")
	if err != nil {
		return nil, err
	}
	if view.name == "" {
		report.addf(Failure, textMissing).
			fix("run `daymill migrate`, which creates it again")
		return report, nil
	}
	source, err := show(ctx, tx)
	switch {
	case errors.Is(err, ErrNone):
		report.addf(Failure, textNone).fix("run `daymill source set --table … --entity … --type … " +
			"--time …`, or `daymill source create` for a new table")
		return report, nil
	case err != nil:
		return nil, err
	case source.Swapped != "":
		report.addf(Failure, "%s", source.swappedText(source.Swapped)).fix(ErrSwapped.Error())
	case source.Renamed != "":
		report.addf(Failure, "%s", source.Renamed).fix(ErrSwapped.Error())
	case source.HandWritten:
		report.addf(OK, "analytics.events was written by hand and reads %s", strings.Join(source.Reads, ", "))
	default:
		report.addf(OK, "analytics.events reads %s", strings.Join(source.Reads, ", "))
	}

	want := []struct{ name, kind, cast string }{
		{"entity_id", "analytics.entity_id", "entity_id::analytics.entity_id"},
		{"event_type", "text", "event_type::text"},
		{"created_at", "timestamp with time zone", "created_at::timestamptz"},
	}
	for _, w := range want {
		i := slices.IndexFunc(view.columns, func(c db.SourceColumnsRow) bool { return c.Name == w.name })
		switch {
		case i < 0:
			report.addf(Failure, "analytics.events has no column %s", w.name).fix("select it, as " + w.cast)
		case view.columns[i].Type != w.kind && view.columns[i].Type != strings.TrimPrefix(w.kind, "analytics."):
			report.addf(Failure, "the column %s of analytics.events has the type %s instead of %s", w.name, view.columns[i].Type, w.kind).
				fix("cast it in the view: " + w.cast)
		}
	}
	if !report.Failed() {
		report.addf(OK, "its columns have the types that runs expect")
	}
	return report, nil
}

// checkRights checks whether runs may read everything behind the view.
func checkRights(ctx context.Context, tx pgx.Tx) (Report, error) {
	var report Report
	queries := db.New(tx)
	role, err := queries.SourceRole(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the role: %w", err)
	}
	reads, err := queries.SourceReads(ctx)
	if err != nil {
		return nil, fmt.Errorf("look behind analytics.events: %w", err)
	}
	if !role.Readable {
		report.addf(Failure, "the role %s may not read analytics.events", role.RoleQuoted).
			fix("GRANT SELECT ON analytics.events TO " + role.RoleQuoted + ";")
	}
	for _, read := range reads {
		if !read.Readable {
			report.addf(Failure, "the role %s may not read %s", read.RoleQuoted, read.Quoted).
				fix("GRANT SELECT ON " + read.Quoted + " TO " + read.RoleQuoted + ";")
		}
	}
	if report.Failed() {
		return report, nil
	}

	// Postgres checks rights on single columns and on functions only when a statement begins.
	err = inSavepoint(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SELECT e.entity_id, e.event_type, e.created_at FROM analytics.events AS e LIMIT 0")
		return err
	})
	var server *pgconn.PgError
	switch {
	case errors.As(err, &server) && server.Code == pgerrcode.InsufficientPrivilege:
		report.addf(Failure, "analytics.events cannot be read: %s", server.Message).
			fix("grant the missing right to the role " + role.OwnerQuoted + ", which owns the view")
		return report, nil
	case err != nil:
		return nil, fmt.Errorf("read analytics.events: %w", err)
	}
	report.addf(OK, "the role %s may read it", role.RoleQuoted)
	for _, read := range reads {
		if read.RowSecurity {
			report.addf(Warning, "row-level security is on for %s: rows that its policies hide from %s are not counted",
				read.Quoted, read.RoleQuoted).fix("add a policy that shows " + read.RoleQuoted +
				" every row, or ALTER ROLE " + read.RoleQuoted + " BYPASSRLS;")
		}
	}
	return report, nil
}

// checkEntity checks which values the entity's column may have. For a view that was written by hand, the column is unknown.
func checkEntity(installed entity.Type) func(ctx context.Context, tx pgx.Tx) (Report, error) {
	return func(ctx context.Context, tx pgx.Tx) (Report, error) {
		source, err := show(ctx, tx)
		if err != nil || source.HandWritten {
			return nil, err
		}
		table, err := lookup(ctx, tx, source.Schema, source.Table)
		if err != nil {
			return nil, err
		}
		var report Report
		for _, column := range table.columns {
			if column.Name == source.Type && (column.Loose || column.BaseName == "citext") {
				report.addf(Warning, "%s.%s considers different texts equal, such as View and view: they are counted as different event types",
					table.Quoted, column.Quoted).fix("map them to one with `daymill source set --map`")
			}
			if column.Name != source.Entity {
				continue
			}
			if !column.Required && slices.Contains([]string{kindTable, kindPartitioned}, table.Kind) {
				report.addf(Warning, "%s.%s can be null: rows without an entity are not counted", table.Quoted, column.Quoted).
					fix("if such rows are not events, do nothing; otherwise run ALTER TABLE … ALTER COLUMN … SET NOT NULL")
			}
			switch {
			case column.BaseName == "citext":
				report.addf(Warning, "%s.%s is citext: ids that differ only in case are counted as different entities",
					table.Quoted, column.Quoted).fix("if they are equal for the application, write the view by hand with lower(…)")
			case column.Loose:
				report.addf(Warning, "%s.%s has a nondeterministic collation: ids that it considers equal are counted as different entities",
					table.Quoted, column.Quoted).fix("write the view by hand, with lower(…) or another expression that makes such ids equal, if they are the " +
					"same for the application")
			case installed == entity.Text && (isWhole(column) || column.BaseID == pgtype.UUIDOID):
				report.addf(OK, "the entity is the text of %s.%s, whose type is %s", table.Quoted, column.Quoted, column.Type)
			}
		}
		return report, nil
	}
}
