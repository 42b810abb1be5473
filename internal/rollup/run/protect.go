package run

import (
	"context"
	"fmt"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/internal/rollup/protection"
)

// checkProtected fails with ErrProtected if publishing would erase metrics whose events no longer exist. It runs before the first scan
// and after each scan, because events that were deleted during a scan are missing from its counts.
func (a *active) checkProtected(ctx context.Context) (err error) {
	a.known, err = protection.Date{
		Primary: a.pair.Primary, Source: a.pair.Source, Date: a.order.Date, Bounds: a.bounds, RunID: a.scanRun,
	}.Check(ctx, a.Clock.Now())
	return err
}

// checkLoss fails with ErrProtected if there are fewer events than the last complete run counted, and nobody has requested
// this date alone. A pass that has read to the end knows the number of events; after any other pass checkLoss counts them.
func (a *active) checkLoss(ctx context.Context, rows merge.Rows, upTo *entity.ID) error {
	if !a.known.Strict {
		return nil
	}
	if upTo == nil {
		return a.known.Check(a.publisher.Totals.Events + rows.Events())
	}
	events, err := protection.Count(ctx, a.pair.Source, a.pacer, a.bounds, a.known.Recorded, func() error { return a.signOfLife(ctx) })
	if err != nil {
		return err
	}
	return a.known.Check(events)
}

// protect ends a run that keeps the metrics, and resolves the requests that it has claimed: another run could do no more for
// them.
func (a *active) protect(ctx context.Context, reason error) error {
	text := reason.Error()
	for resolved := int64(mostRequests); resolved == mostRequests; {
		err := a.held(ctx, func(ctx context.Context, queries *db.Queries) (err error) {
			resolved, err = queries.ProtectionResolve(ctx, db.ProtectionResolveParams{
				MetricDate: a.order.Date, RunID: a.scanRun, MaxRows: mostRequests,
			})
			if err != nil || resolved == mostRequests {
				return err
			}
			err = lease.Fenced(queries.ProtectionSet(ctx, db.ProtectionSetParams{
				MetricDate: a.order.Date, RunID: a.id, Token: a.lease.Term.Token, Beat: a.lease.Signs(),
			}))
			if err != nil {
				return err
			}
			if err := queries.RunProgress(ctx, a.report().row()); err != nil {
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

// recordErased writes to the audit how much the requests have erased. It runs before the requests are resolved; a run that is
// interrupted in between writes the entry twice.
func (a *active) recordErased(ctx context.Context) error {
	err := a.held(ctx, func(ctx context.Context, queries *db.Queries) error {
		return queries.ProtectionErased(ctx, db.ProtectionErasedParams{
			MetricDate: a.order.Date, RunID: a.scanRun, ByRun: a.id, EventsBefore: a.known.Recorded,
			Events: a.publisher.Totals.Events, RowsDeleted: a.publisher.Rows.Deleted,
		})
	})
	if err != nil {
		return fmt.Errorf("write the audit: %w", err)
	}
	return nil
}
