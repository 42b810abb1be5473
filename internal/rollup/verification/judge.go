package verification

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/rollup/protection"
)

// judge decides the result of the comparison and records it while the date is locked, so that no run begins before that.
//
// If a run has begun since the verification began, the rows may come from two runs, so judge does not judge them. An open request
// means that events have changed and a run will follow, so a difference is expected. Events that arrived since the last run without
// a request are drift, because no run would count them. If the scan has seen an event that was committed with a request, judge sees
// the request as well.
func (v *verification) judge(ctx context.Context) error {
	err := v.ledger(ctx, func(ctx context.Context, queries *db.Queries) error {
		steady, err := queries.VerificationSteady(ctx, db.VerificationSteadyParams{
			RunID: v.begun.RunID, Token: v.begun.Token, Life: v.begun.Life, MetricDate: v.order.Date,
		})
		if err != nil {
			return fmt.Errorf("look for runs: %w", err)
		}
		r := &v.result
		r.Repair = false
		switch {
		case !steady.Same:
			r.Result, r.Reason = Changed, "another run has begun in the meantime, so the date was not judged"
		case r.Result == Protected:
		case r.DriftedEntities == 0:
			r.Result = Exact
		case steady.Requested:
			r.Result, r.Reason = Changed, "a rollup is already requested, so the date was not judged"
		default:
			r.Result = Drifted
			r.Repair = v.order.Repair == RepairAll || v.order.Repair == RepairGains && r.Erased() == 0
		}
		return v.record(ctx, queries)
	})
	if err != nil {
		return fmt.Errorf("record the verification: %w", err)
	}
	return nil
}

func (v *verification) record(ctx context.Context, queries *db.Queries) error {
	r := &v.result
	complete, stale := "complete", "stale"
	mark := db.VerificationMarkParams{MetricDate: v.order.Date}
	switch r.Result {
	case Exact:
		mark.State = &complete
	case Drifted:
		mark.State = &stale
	}
	if r.Result != Changed {
		if err := queries.VerificationMark(ctx, mark); err != nil {
			return fmt.Errorf("mark the date: %w", err)
		}
	}
	if r.Repair {
		err := queries.RequestAppend(ctx, db.RequestAppendParams{
			MetricDates: []date.Date{v.order.Date}, RequestedVia: via, Priority: priority, MayLose: protection.LoseNone,
			Erase: v.order.Repair == RepairAll && r.Erased() > 0,
		})
		if err != nil {
			return fmt.Errorf("request a rollup: %w", err)
		}
	}
	drifts, err := json.Marshal(r.Drifts[:min(DefaultDrifts, len(r.Drifts))])
	if err != nil {
		return fmt.Errorf("write the entities that drifted: %w", err)
	}
	r.ID, err = queries.VerificationInsert(ctx, db.VerificationInsertParams{
		MetricDate: r.Date, RunID: r.RunID, Result: r.Result, Entities: r.Entities, DriftedEntities: r.DriftedEntities,
		EventsCounted: r.EventsCounted, EventsStored: r.EventsStored, EventsRecorded: r.EventsRecorded, Repair: r.Repair, StartedAt: v.begun.StartedAt,
		RequestedBy: v.order.By, RequestedVia: v.order.Via, Drifts: drifts,
	})
	return err
}
