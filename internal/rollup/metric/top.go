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

// Limits of FindTop: how many rows it adds up, unless a single date has more, and how long that may take.
const (
	topRows    = 100_000
	topTimeout = 150 * time.Millisecond
	// maxPeriod is the longest period, in days.
	maxPeriod = 366
)

// The metrics that have a column. Every other metric is the name of an event type.
const (
	Views  = "views"
	Clicks = "clicks"
	Saves  = "saves"
	Skips  = "skips"
)

// Metric is the count by which entities are ranked.
type Metric struct {
	Column    string // Views, Clicks, Saves or Skips; empty for an event type without a column
	EventType string // of a metric without a column
}

// Top has the entities with the highest counts over some dates.
type Top struct {
	// Dates lists the dates that were added up, latest first: all dates of the period that were ever complete, or the latest of
	// them if there are too many rows. Others is how many dates were left out.
	Dates  []date.Date
	Others int
	// Cut reports that even one date took too long. Then there are no entities.
	Cut      bool
	Entities []Ranked
}

// Ranked is an entity and its count.
type Ranked struct {
	ID    string
	Count int64
}

// FindTop adds up the counts of a period, and returns at most limit entities with the highest sums. It takes the latest dates that
// together have 100,000 rows, and at least one date. The ledger has the number of rows of each date, so FindTop does not have to
// count them.
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

// Names returns event types without a column, for a person to choose from: those that the first entities of the period's latest
// complete date have. There may be others. It leaves out names of more than 100 characters.
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
