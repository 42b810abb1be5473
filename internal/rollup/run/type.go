package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// recordTypes records the date's events by type in the transaction that completes the date. A run that
// resumed another one has not counted the entities below its cursor, so it deletes the counts of the earlier
// run, which are out of date.
func (a *active) recordTypes(ctx context.Context, queries *db.Queries) error {
	sums, known := a.sums, a.scanRun == a.id
	if a.scoped != nil {
		var err error
		if sums, known, err = a.sumsAfter(ctx, queries); err != nil {
			return err
		}
	}
	if !known || sums.Total() != a.publisher.Totals.Events {
		if err := queries.TypeForget(ctx, a.order.Date); err != nil {
			return fmt.Errorf("delete the counts by type: %w", err)
		}
		return nil
	}
	text, err := json.Marshal(sums.Short(merge.MostTypes))
	if err == nil {
		err = queries.TypeRecord(ctx, db.TypeRecordParams{MetricDate: a.order.Date, Counts: text})
	}
	if err != nil {
		return fmt.Errorf("record the counts by type: %w", err)
	}
	return nil
}

// sumsAfter returns the date's events by type after some entities were counted again.
func (a *active) sumsAfter(ctx context.Context, queries *db.Queries) (sums merge.Sums, known bool, err error) {
	text, err := queries.TypeGet(ctx, a.order.Date)
	if errors.Is(err, pgx.ErrNoRows) {
		return merge.Sums{}, false, nil
	}
	if err != nil {
		return merge.Sums{}, false, fmt.Errorf("read the counts by type: %w", err)
	}
	var stored merge.Sums
	if err := json.Unmarshal(text, &stored); err != nil {
		return merge.Sums{}, false, nil //nolint:nilerr // Another version wrote them. The next run of the whole date replaces them.
	}
	sums, known = stored.Replace(a.scopeWas, a.sums)
	return sums, known, nil
}
