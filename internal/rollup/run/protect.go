package run

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/rollup/guard"
)

// guard fails with ErrProtected where publishing would erase metrics whose events are gone. It is asked before the first
// scan and after each: what was dropped while a scan was under way is missing from its counts.
func (a *attempt) guard(ctx context.Context) error {
	return guard.Guard{
		Primary: a.primary, Source: a.source, Date: a.order.Date, Bounds: a.bounds, RunID: a.scanRun,
	}.Check(ctx, a.Clock.Now())
}

// protect ends a run that leaves the metrics as they are, and resolves the requests that it has claimed: another run
// would do no more for them.
func (a *attempt) protect(ctx context.Context, reason error) error {
	text := reason.Error()
	for resolved := int64(mostRequests); resolved == mostRequests; {
		err := a.ledger(ctx, func(ctx context.Context, queries *db.Queries) error {
			if err := a.fence(ctx, queries); err != nil {
				return err
			}
			var err error
			resolved, err = queries.GuardResolve(ctx, db.GuardResolveParams{
				MetricDate: a.order.Date, RunID: a.scanRun, MaxRows: mostRequests,
			})
			if err != nil || resolved == mostRequests {
				return err
			}
			err = fenced(queries.GuardProtect(ctx, db.GuardProtectParams{MetricDate: a.order.Date, RunID: a.id}))
			if err != nil {
				return err
			}
			if err := queries.RunProgress(ctx, a.figures().row()); err != nil {
				return err
			}
			return queries.RunFinish(ctx, db.RunFinishParams{ID: a.id, State: "protected", Error: &text})
		})
		if err != nil {
			return fmt.Errorf("protect the date: %w", err)
		}
	}
	return reason
}
