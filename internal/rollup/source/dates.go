package source

import (
	"context"

	"github.com/jackc/pgerrcode"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// Dates returns which of some dates have events. look runs statements that look up events by their instant; Dates may call it more than once.
func Dates(ctx context.Context, dates []date.Date, look func(do func(queries *db.Queries) error) error) (found []date.Date, err error) {
	err = look(func(queries *db.Queries) (err error) {
		found, err = queries.EventDates(ctx, dates)
		return err
	})
	if postgres.Code(err) != pgerrcode.FeatureNotSupported {
		return found, err
	}
	// Citus does not look up rows of a distributed table for the rows of another one.
	found = nil
	for _, one := range dates {
		exists := false
		err := look(func(queries *db.Queries) (err error) {
			exists, err = Any(ctx, queries, date.Range{First: one, Last: one})
			return err
		})
		if err != nil {
			return nil, err
		}
		if exists {
			found = append(found, one)
		}
	}
	return found, nil
}

// Any reports whether a range of dates has an event.
func Any(ctx context.Context, queries *db.Queries, of date.Range) (bool, error) {
	bounds, err := queries.DateBounds(ctx, db.DateBoundsParams{MetricDate: of.First, NextDate: of.Last.AddDays(1)})
	if err != nil {
		return false, err
	}
	return queries.EventExistsBetween(ctx, db.EventExistsBetweenParams{FromInstant: bounds.FromInstant, ToInstant: bounds.ToInstant})
}
