package view

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/view/plan"
)

// partitions notices partitions that were attached, detached, dropped, or truncated by themselves, which no change of a row shows. It requests a
// comparison of all rows with the SELECT, which repairs those that differ: only these are written, and most rows are the same. It is
// requested in the transaction that stores which partitions the view knows, so it happens even if no worker ran at the time.
//
// Tables that are read on a schedule are compared anyway.
func (e *Engine) partitions(ctx context.Context, v Version, now [][]plan.Part) error {
	known, moved, changed := make([][]plan.Part, len(now)), false, false
	for i, source := range v.Plan.Sources {
		if known[i] = source.Parts; source.Scheduled || source.Parts == nil && now[i] == nil {
			continue
		}
		from, _, err := e.Databases.Open(ctx, v.Plan.Definition.Tables[i].Database)
		if err != nil {
			return err
		}
		var other bool
		if known[i], other, err = source.Regroup(ctx, from, now[i]); err != nil {
			return err
		}
		moved, changed = moved || other, changed || !plan.SameParts(known[i], source.Parts)
	}
	if !changed {
		return nil
	}
	return e.DB.Tx(ctx, func(tx pgx.Tx) error {
		if err := lock(ctx, tx, v.View); err != nil {
			return err
		}
		versions, err := Versions(ctx, tx, v.View)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(versions, func(now Version) bool { return now.ID == v.ID && now.Revision == v.Revision })
		if at < 0 {
			return nil // Another process has noticed them.
		}
		for i := range known {
			versions[at].Plan.Sources[i].Parts = known[i]
		}
		document, err := marshal(versions[at].Plan)
		if err != nil {
			return err
		}
		if err := db.New(tx).VersionPlan(ctx, db.VersionPlanParams{ID: v.ID, Plan: document}); err != nil {
			return fmt.Errorf("record the partitions of a view's tables: %w", err)
		}
		if !moved {
			return nil
		}
		return whole(ctx, tx, v, TaskVerify)
	})
}

// whole requests a task that reads all rows of a table of a view: a build, or a verification that repairs.
func whole(ctx context.Context, tx pgx.Tx, v Version, kind string) error {
	err := db.New(tx).ViewTaskWhole(ctx, db.ViewTaskWholeParams{ViewID: v.View, VersionID: v.ID, Kind: kind, Repair: kind == TaskVerify, Via: audit.ViaCron})
	if err != nil {
		return fmt.Errorf("insert a task: %w", err)
	}
	return nil
}
