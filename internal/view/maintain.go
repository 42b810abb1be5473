package view

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/plan"
)

// keepTasks is how long finished tasks are kept.
const keepTasks = 30 * 24 * time.Hour

// Due returns the tasks that are due, at most a hundred.
func (e *Engine) Due(ctx context.Context) (due []int64, err error) {
	err = e.DB.Read(ctx, func(on postgres.DBTX) error {
		due, err = db.New(on).ViewTaskDue(ctx, lease.Silence)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find the due tasks of views: %w", err)
	}
	return due, nil
}

// Maintain follows drift, repairs views after gaps of streams, and deletes old tasks. If a view fails, it continues with the others.
func (e *Engine) Maintain(ctx context.Context) error {
	views, err := List(ctx, e.DB)
	if err != nil {
		return err
	}
	var failed error
	for _, v := range views {
		err := e.Follow(ctx, v.ID)
		if err == nil {
			err = e.gaps(ctx, v)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("view %s: %w", v.Name, err))
		}
	}
	if len(views) > 0 {
		err := e.DB.Tx(ctx, func(tx pgx.Tx) error {
			_, err := db.New(tx).ViewTaskPrune(ctx, keepTasks)
			return err
		})
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("delete old tasks: %w", err))
		}
	}
	return failed
}

// gaps requests that all rows of a view are read again, if changes of its tables are missing. If drift has paused the view, it waits for the decision, which
// may be about other tables.
func (e *Engine) gaps(ctx context.Context, existing View) error {
	held, err := existing.held(ctx, e.DB)
	if err != nil || held {
		return err
	}
	versions, err := Versions(ctx, e.DB, existing.ID)
	if err != nil || len(versions) == 0 {
		return err
	}
	streams, tables := []string{}, []string{}
	for _, version := range versions {
		streams = append(streams, version.Plan.Streams()...)
		for _, source := range version.Plan.Sources {
			tables = append(tables, source.Schema+"."+source.Name)
		}
	}
	mirrored := slices.ContainsFunc(versions[len(versions)-1].Plan.Sources, func(s plan.Source) bool { return s.Mirror != "" })
	again := false
	err = e.DB.Tx(ctx, func(tx pgx.Tx) error {
		queries := db.New(tx)
		gap, err := queries.ViewGap(ctx, db.ViewGapParams{ID: existing.ID, Streams: streams, Tables: tables})
		if err != nil {
			return fmt.Errorf("find the gaps: %w", err)
		}
		if gap == 0 {
			return nil
		}
		again = mirrored
		for _, version := range versions {
			if mirrored {
				break // A mirror that lacks changes may have rows that no longer exist, so it is created again.
			}
			_, err := queries.ViewTaskInsert(ctx, db.ViewTaskInsertParams{ViewID: existing.ID, VersionID: &version.ID, Kind: TaskBuild, Via: audit.ViaCron})
			if err != nil {
				return fmt.Errorf("insert a task: %w", err)
			}
		}
		if err := queries.ViewGapSeen(ctx, db.ViewGapSeenParams{ID: existing.ID, Gap: gap}); err != nil {
			return fmt.Errorf("record a gap: %w", err)
		}
		return nil
	})
	if err == nil && again {
		_, err = e.Rebuild(ctx, existing.Name, audit.Who{Via: audit.ViaCron})
	}
	return err
}
