package view

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/audit"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/text"
)

// ask inserts tasks for the tables of a view: for some root keys, unless keys is nil.
func (e *Engine) ask(ctx context.Context, name, action string, who audit.Who, params db.ViewTaskInsertParams, keys roots) (tasks []int64, err error) {
	err = e.DB.Tx(ctx, func(tx pgx.Tx) error {
		v, err := Get(ctx, tx, name)
		if err != nil {
			return err
		}
		versions, err := Versions(ctx, tx, v.ID)
		if err != nil {
			return err
		}
		if keys != nil && len(versions) > 0 {
			if err := versions[len(versions)-1].fit(ctx, tx, keys); err != nil {
				return err
			}
		}
		for _, version := range versions {
			if params.Kind == TaskVerify && version.State != Serving {
				continue
			}
			params.ViewID, params.VersionID, params.Actor, params.Via = v.ID, &version.ID, who.Actor, who.Via
			id, err := db.New(tx).ViewTaskInsert(ctx, params)
			if err != nil {
				return fmt.Errorf("insert a task: %w", err)
			}
			tasks = append(tasks, id)
			if params.Kind == TaskBuild { // Tables that are read on a schedule are read again, too.
				if err := db.New(tx).ViewTaskSoon(ctx, version.ID); err != nil {
					return fmt.Errorf("request that tables are read: %w", err)
				}
			}
		}
		if len(tasks) == 0 {
			return refusef("view %s is not built yet: `daymill view show %s` has its progress", name, name)
		}
		return audit.Record(ctx, tx, audit.Entry{Who: who, Action: action, Target: name})
	})
	return tasks, err
}

// Refresh requests a refresh of the rows of some root keys; of all rows if there are none.
func (e *Engine) Refresh(ctx context.Context, name string, keys [][]string, who audit.Who) ([]int64, error) {
	params := db.ViewTaskInsertParams{Kind: TaskRefresh}
	if keys == nil {
		params.Kind = TaskBuild // The rows are refreshed in the table that serves.
		return e.ask(ctx, name, "refresh view", who, params, nil)
	}
	var err error
	if params.Keys, err = json.Marshal(keys); err != nil {
		return nil, fmt.Errorf("write the keys of a refresh: %w", err)
	}
	return e.ask(ctx, name, "refresh view", who, params, keys)
}

// fit returns a refusal if a text is not a value of a column of the root's key.
func (v Version) fit(ctx context.Context, on postgres.DBTX, keys roots) error {
	name, columns := v.Plan.Definition.Name, v.Plan.Key()
	for _, key := range keys {
		if len(key) != len(columns) {
			return refusef("a key has %s, and the key of the root of view %s has %d: give a text for each key, or a JSON array of texts if the key has several columns", text.Plural(int64(len(key)), "column"), name, len(columns))
		}
	}
	for k, values := range keys.arrays(len(columns)) {
		wrong, err := misfits(ctx, on, values, columns[k].Type)
		if err != nil {
			return fmt.Errorf("check the keys of a refresh: %w", err)
		}
		if len(wrong) > 0 {
			return refusef("%q is not a value of type %s, which column %s of the key of view %s has: give keys of the root's rows", keys[wrong[0]][k], columns[k].Type, columns[k].Name, name)
		}
	}
	return nil
}

// Verify requests a comparison of all rows with the SELECT.
func (e *Engine) Verify(ctx context.Context, name string, repair bool, who audit.Who) ([]int64, error) {
	return e.ask(ctx, name, "verify view", who, db.ViewTaskInsertParams{Kind: TaskVerify, Repair: repair}, nil)
}
