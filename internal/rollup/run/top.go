package run

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// ranked is a merge.Ranked in the ledger.
type ranked struct {
	ID    string `json:"id"`
	Count int64  `json:"count"`
}

// recordTop records the date's top entities in the transaction that completes the date. A run that resumed another one has not
// seen the entities below its cursor, so it deletes the list of an earlier run, which is out of date.
func (a *active) recordTop(ctx context.Context, queries *db.Queries) error {
	top, known := a.top, a.scanRun == a.id
	if a.scoped != nil {
		var err error
		if top, known, err = a.topAfter(ctx, queries, a.scoped); err != nil {
			return err
		}
	}
	if !known {
		if err := queries.TopForget(ctx, a.order.Date); err != nil {
			return fmt.Errorf("delete the top entities: %w", err)
		}
		return nil
	}
	text, err := a.topText(top)
	if err == nil {
		err = queries.TopRecord(ctx, db.TopRecordParams{MetricDate: a.order.Date, Top: text})
	}
	if err != nil {
		return fmt.Errorf("record the top entities: %w", err)
	}
	return nil
}

// topText returns lists as the ledger has them.
func (r *Runner) topText(top merge.Top) ([]byte, error) {
	lists := make(map[string][]ranked)
	for name, list := range top.Lists() {
		for _, one := range *list {
			lists[name] = append(lists[name], ranked{ID: r.Type.Format(one.ID), Count: one.Count})
		}
	}
	return json.Marshal(lists)
}
