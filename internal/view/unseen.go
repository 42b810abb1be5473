package view

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// unseen notices what no change of a row shows: partitions that were attached, detached, dropped, or truncated by themselves; renamed labels of enums;
// and another table that took an earlier name of one of the view's tables, whose changes may have been taken for changes of that one. unseen requests
// a comparison of all rows with the SELECT, which repairs those that differ: only these are written, and most rows are the same. It is requested in the
// transaction that stores what the view knows, so it happens even if no worker ran at the time.
//
// Tables that are read on a schedule are compared anyway.
func (e *Engine) unseen(ctx context.Context, v Version, d *difference) error {
	sources, moved, changed := slices.Clone(v.Plan.Sources), d.compare, false
	for i, source := range v.Plan.Sources {
		if source.Scheduled {
			continue
		}
		sources[i].Columns = slices.Clone(source.Columns)
		for k, column := range source.Columns {
			for _, now := range d.sources[i].Columns {
				if now.Number == column.Number {
					changed = changed || !maps.Equal(now.Labels, column.Labels)
					sources[i].Columns[k].Labels = now.Labels
				}
			}
		}
		from, _, err := e.Databases.Open(ctx, v.Plan.Definition.Tables[i].Database)
		if err != nil {
			return err
		}
		var other bool
		if sources[i].Parts, other, err = source.Regroup(ctx, from, d.parts[i]); err != nil {
			return err
		}
		if sources[i].Former, err = e.former(ctx, from, source); err != nil {
			return err
		}
		lost := len(sources[i].Former) < len(source.Former)
		moved, changed = moved || other || lost, changed || lost || !plan.SameParts(sources[i].Parts, source.Parts)
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
		versions[at].Plan.Sources = sources
		document, err := marshal(versions[at].Plan)
		if err != nil {
			return err
		}
		if err := db.New(tx).VersionPlan(ctx, db.VersionPlanParams{ID: v.ID, Plan: document}); err != nil {
			return fmt.Errorf("record what a view knows of its tables: %w", err)
		}
		if !moved {
			return nil
		}
		return whole(ctx, tx, v, TaskVerify)
	})
}

// whole requests a task that reads all rows of a table of a view: a build, or a verification that repairs.
func whole(ctx context.Context, tx pgx.Tx, v Version, kind string) error {
	params := db.ViewTaskWholeParams{ViewID: v.View, VersionID: v.ID, Kind: kind, Repair: kind == TaskVerify, Via: audit.ViaCron}
	if kind == TaskBuild {
		params.Via = viaCapture
	}
	err := db.New(tx).ViewTaskWhole(ctx, params)
	if err != nil {
		return fmt.Errorf("insert a task: %w", err)
	}
	return nil
}

// former returns the earlier names of a table that no other table has. A name is given up when the table is captured under its present name: until then,
// its changes may come with an earlier one.
func (e *Engine) former(ctx context.Context, from postgres.DBTX, source plan.Source) (names [][2]string, err error) {
	for _, name := range source.Former {
		taken, err := source.Taken(ctx, from, name)
		if err == nil && taken {
			taken, err = e.captured(ctx, source)
		}
		if err != nil {
			return nil, err
		}
		if !taken {
			names = append(names, name)
		}
	}
	return names, nil
}

// captured reports whether a stream captures a table, under its present name.
func (e *Engine) captured(ctx context.Context, source plan.Source) (bool, error) {
	rows, err := db.New(e.DB).ViewCaptured(ctx, source.Stream)
	if err != nil {
		return false, fmt.Errorf("find out which tables are captured: %w", err)
	}
	return slices.Contains(rows, db.ViewCapturedRow{SchemaName: source.Schema, TableName: source.Name, Oid: int64(source.OID)}), nil
}
