package metric

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/postgres"
)

// What the top entities may cost: how many rows are added up, but for those of one date, and how long that may take.
const (
	topRows    = 100_000
	topTimeout = 150 * time.Millisecond
	// maxPeriod is the longest period, in days, that is looked at.
	maxPeriod = 366
)

// The metrics that have a column. Any other is the name of an event type.
const (
	Views  = "views"
	Clicks = "clicks"
	Saves  = "saves"
	Skips  = "skips"
)

// Metric is what entities are compared by.
type Metric struct {
	Column    string // Views, Clicks, Saves or Skips; empty for an event type that has none
	EventType string // of a metric without a column
}

// Top is the entities with the highest counts over some dates.
type Top struct {
	// Dates are those that were added up, the latest first: all of the period that have been complete, or the latest of
	// them where the whole is too much. Others is how many were left out for that.
	Dates  []date.Date
	Others int
	// Cut says that even one date took too long. There are no entities then.
	Cut      bool
	Entities []Ranked
}

// Ranked is an entity and its count.
type Ranked struct {
	ID    string
	Count int64
}

// FindTop adds up the counts of a period, and returns the entities with the highest, limit at most. It takes as many
// dates, from the latest on, as have 100,000 rows together, and one at least. The ledger knows how many rows a date has, so
// nothing has to be read to find out what is too much.
func FindTop(
	ctx context.Context, conn *postgres.DB, entityType entity.Type, metric Metric, period date.Range, limit int,
) (Top, error) {
	if period.Len() > maxPeriod {
		period.First = period.Last.AddDays(1 - maxPeriod)
	}
	var top Top
	err := conn.Read(ctx, func(on postgres.DBTX) error {
		rows, err := db.New(on).MetricReadDates(ctx, db.MetricReadDatesParams{
			FirstDate: period.First, LastDate: period.Last, MaxRows: maxPeriod,
		})
		budget := int64(topRows)
		for i, row := range rows {
			if budget -= row.Entities; budget < 0 && i > 0 {
				top.Others = len(rows) - i
				break
			}
			top.Dates = append(top.Dates, row.MetricDate)
		}
		return err
	})
	if err != nil {
		return Top{}, fmt.Errorf("look for complete dates: %w", err)
	}
	if len(top.Dates) == 0 {
		return top, nil
	}
	session, err := conn.Session(ctx)
	if err != nil {
		return Top{}, err
	}
	defer session.Release(context.WithoutCancel(ctx))
	err = session.Read(ctx, topTimeout, func(ctx context.Context, on postgres.DBTX) error {
		found, err := db.New(on).MetricReadTop(ctx, db.MetricReadTopParams{
			Metric: metric.Column, EventType: metric.EventType, MetricDates: top.Dates, MaxRows: int32(limit), //nolint:gosec // A page.
		})
		for _, row := range found {
			if row.Total > 0 {
				top.Entities = append(top.Entities, Ranked{ID: entityType.Format(row.EntityID), Count: row.Total})
			}
		}
		return err
	})
	if postgres.IsTimeout(err) {
		return Top{Dates: top.Dates, Others: top.Others, Cut: true}, nil
	}
	if err != nil {
		return Top{}, fmt.Errorf("look for the top entities: %w", err)
	}
	return top, nil
}

// Names returns event types without a column that the latest complete date of a period has among its first entities: those
// worth offering. There may be more. Names of more than 100 characters are left out.
func Names(ctx context.Context, on postgres.DBTX, period date.Range, limit int) ([]string, error) {
	queries := db.New(on)
	dates, err := queries.MetricReadDates(ctx, db.MetricReadDatesParams{FirstDate: period.First, LastDate: period.Last, MaxRows: 1})
	if err != nil || len(dates) == 0 {
		return nil, err
	}
	names, err := queries.MetricReadNames(ctx, db.MetricReadNamesParams{
		MetricDate: dates[0].MetricDate, MaxLength: 100, MaxRows: int32(limit), //nolint:gosec // A page.
	})
	if err != nil {
		return nil, fmt.Errorf("look for event types: %w", err)
	}
	slices.Sort(names)
	return names, nil
}
