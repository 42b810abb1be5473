package view

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/view/plan"
)

// alteration returns the changes that make a view's table match a plan in place. It returns nil if a new
// table has to be built, or while one is being built.
func alteration(versions []Version, made *plan.Plan) *plan.Alteration {
	if len(versions) != 1 || versions[0].State != Serving || versions[0].Stale != "" {
		return nil
	}
	return made.Alter(versions[0].Plan)
}

// change makes a view's table match a plan: in place if possible, otherwise by building a new table.
func (e *Engine) change(ctx context.Context, tx pgx.Tx, existing View, made *plan.Plan, who audit.Who) error {
	if err := lock(ctx, tx, existing.ID); err != nil {
		return err
	}
	versions, err := Versions(ctx, tx, existing.ID)
	if err != nil {
		return err
	}
	a := alteration(versions, made)
	if a == nil {
		_, err := e.replace(ctx, tx, existing, made, who)
		return err
	}
	if err := e.alter(ctx, tx, versions[0], made, a, who); err != nil {
		return err
	}
	return audit.Record(ctx, tx, audit.Entry{Who: who, Action: "alter view", Target: existing.Name})
}

// alter adds and drops columns of a table. The caller has locked the view.
func (e *Engine) alter(ctx context.Context, tx pgx.Tx, version Version, made *plan.Plan, a *plan.Alteration, who audit.Who) error {
	if statement := a.AlterTable(version.Table); statement != "" {
		_, err := tx.Exec(ctx, statement)
		if server := (*pgconn.PgError)(nil); errors.As(err, &server) && server.Code == pgerrcode.DependentObjectsStillExist {
			return refusef("a column of %s cannot be dropped, because other objects depend on it (%s): drop them first", plan.Table(version.Table), server.Detail)
		}
		if err != nil {
			return fmt.Errorf("change the columns of %s: %w", plan.Table(version.Table), err)
		}
	}
	if err := e.alterMirrors(ctx, tx, made, a); err != nil {
		return err
	}
	if err := e.replan(ctx, tx, version, made); err != nil {
		return err
	}
	if !a.Fill {
		return nil
	}
	total, err := rows(ctx, tx, made)
	if err != nil {
		return err
	}
	params := db.ViewTaskInsertParams{ViewID: version.View, VersionID: &version.ID, Kind: TaskBuild, Total: total, Actor: who.Actor, Via: who.Via}
	if !a.Copies() {
		params.Stage = int32(len(made.Mirrored())) //nolint:gosec // A small number.
	}
	_, err = db.New(tx).ViewTaskInsert(ctx, params)
	if err != nil {
		return fmt.Errorf("insert a task: %w", err)
	}
	return nil
}

// alterMirrors adds and drops columns of mirrors.
func (e *Engine) alterMirrors(ctx context.Context, tx pgx.Tx, made *plan.Plan, a *plan.Alteration) error {
	for i, columns := range a.Mirrors {
		// The mirror may still have a column of the same name that the table has lost.
		for _, column := range slices.Concat(columns.Dropped, columns.Added) {
			_, err := tx.Exec(ctx, "ALTER TABLE "+pgx.Identifier{plan.MirrorSchema, made.Sources[i].Mirror}.Sanitize()+" DROP COLUMN IF EXISTS "+pgx.Identifier{column}.Sanitize())
			if err != nil {
				return fmt.Errorf("drop a column of a mirror: %w", err)
			}
		}
		if len(columns.Added) > 0 {
			if err := e.makeMirror(ctx, tx, made, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// replan stores a version's new plan. Workers that have its tasks with the old plan lose them, and their
// current chunks are rolled back.
func (e *Engine) replan(ctx context.Context, tx pgx.Tx, version Version, made *plan.Plan) error {
	document, err := marshal(made)
	if err != nil {
		return err
	}
	queries := db.New(tx)
	if err := queries.VersionPlan(ctx, db.VersionPlanParams{ID: version.ID, Plan: document}); err != nil {
		return fmt.Errorf("write the plan of view %s: %w", made.Definition.Name, err)
	}
	if err := queries.ViewTaskFence(ctx, version.ID); err != nil {
		return fmt.Errorf("take the tasks of view %s from their workers: %w", made.Definition.Name, err)
	}
	return e.capture(ctx, tx)
}
