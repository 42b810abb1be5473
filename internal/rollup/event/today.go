package event

import (
	"context"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// MostSoFar is the maximum number of events that [SoFar] counts.
	MostSoFar = 200_000
	// soFarLimit bounds the time of the query, because a page waits for the answer.
	soFarLimit = 150 * time.Millisecond
)

// SoFar counts the events of a date that is not over, but at most MostSoFar. known is false if that takes too long.
func SoFar(ctx context.Context, conn *postgres.DB, of date.Date) (events int64, known bool, err error) {
	session, err := conn.Session(ctx)
	if err != nil {
		return 0, false, err
	}
	defer session.Release(context.WithoutCancel(ctx))
	err = session.Read(ctx, soFarLimit, func(ctx context.Context, on postgres.DBTX) error {
		queries := db.New(on)
		bounds, err := queries.DateBounds(ctx, db.DateBoundsParams{MetricDate: of, NextDate: of.AddDays(1)})
		if err != nil {
			return err
		}
		events, err = queries.EventCount(ctx, db.EventCountParams{
			FromInstant: bounds.FromInstant, ToInstant: bounds.ToInstant, AtMost: MostSoFar,
		})
		return err
	})
	if postgres.IsTimeout(err) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("count today's events: %w", err)
	}
	return events, true, nil
}
