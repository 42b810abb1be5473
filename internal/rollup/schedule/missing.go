package schedule

import (
	"context"
	"fmt"
	"slices"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/lease"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/source"
)

// MissingIn returns the dates of a range that have events and are neither complete nor requested. The range should be about a year,
// and its dates must be over. Unlike Missing, it does not look for the first event: it needs only two statements for each 50 dates of
// the range that are not complete.
func (p *Planner) MissingIn(ctx context.Context, of date.Range) ([]date.Date, error) {
	source, err := postgres.SourceSession(ctx, p.Source)
	if err != nil {
		return nil, err
	}
	defer source.Release(context.WithoutCancel(ctx))
	return p.missing(ctx, source, &pace.Pacer{Clock: p.Clock, Pace: p.Pace}, of)
}

// FirstDate returns the date of the first event. It needs about fifteen index lookups. It returns the zero date if there is no event
// up to today.
func (p *Planner) FirstDate(ctx context.Context) (date.Date, error) {
	today, err := Today(ctx, p.Primary, p.Clock)
	if err != nil {
		return date.Date{}, err
	}
	source, err := postgres.SourceSession(ctx, p.Source)
	if err != nil {
		return date.Date{}, err
	}
	defer source.Release(context.WithoutCancel(ctx))
	first, err := p.firstDate(ctx, source, &pace.Pacer{Clock: p.Clock, Pace: p.Pace}, today)
	if err != nil || first.After(today) {
		return date.Date{}, err
	}
	return first, nil
}

func (p *Planner) missing(
	ctx context.Context, session *postgres.Session, pacer *pace.Pacer, of date.Range,
) ([]date.Date, error) {
	var candidates []date.Date
	err := p.Primary.Read(ctx, func(on postgres.DBTX) error {
		var err error
		candidates, err = db.New(on).ScheduleMissing(ctx, db.ScheduleMissingParams{FirstDate: of.First, LastDate: of.Last, Silence: lease.Silence})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for missing dates: %w", err)
	}
	var missing []date.Date
	for chunk := range slices.Chunk(candidates, probe) {
		look := func(do func(*db.Queries) error) error { return p.read(ctx, session, pacer, do) }
		// After a single very old event there may be thousands of dates without events, which this skips at once.
		exists := false
		err := look(func(queries *db.Queries) (err error) {
			exists, err = source.Any(ctx, queries, date.Range{First: chunk[0], Last: chunk[len(chunk)-1]})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look for events: %w", err)
		}
		if !exists {
			continue
		}
		found, err := source.Dates(ctx, chunk, look)
		if err != nil {
			return nil, fmt.Errorf("look for events: %w", err)
		}
		missing = append(missing, found...)
	}
	return missing, nil
}
