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
	// fewerDates is by how much FindTop divides the dates if they took too long.
	fewerDates = 8
	// MaxPeriod is the longest period, in days.
	MaxPeriod = 366
)

// The metrics that have a column. Every other metric is the name of an event type.
const (
	Views  = "views"
	Clicks = "clicks"
	Saves  = "saves"
	Skips  = "skips"
)

// Events is the sum of all counts: a Column of a Metric, though not of the table.
const Events = "events"

// Metric is the count by which entities are ranked.
type Metric struct {
	Column    string // Views, Clicks, Saves, Skips or Events; empty for an event type without a column
	EventType string // of a metric without a column
}

// Top has the entities with the highest counts over some dates.
type Top struct {
	// Dates lists the dates that were added up, latest first: all dates of the period that were ever complete, or the latest of
	// them if there are too many rows, or they take too long. Others is how many dates were left out.
	Dates  []date.Date
	Others int
	// Cut reports that even one date took too long. Then there are no entities.
	Cut      bool
	Entities []Ranked
	// Compared reports that Before of the entities is known: the same number of dates, a period earlier, were all complete once.
	Compared bool
}

// Ranked is an entity and its count.
type Ranked struct {
	ID    string
	Count int64
	// Before is the entity's count over the same number of dates a period earlier.
	Before int64
}

// FindTop adds up the counts of a period, and returns at most limit entities with the highest sums. It takes the latest dates that
// together have 100,000 rows, fewer if these take too long, and at least one date. The ledger has the number of rows of each date, so FindTop does not have to
// count them.
func FindTop(
	ctx context.Context, conn *postgres.DB, entityType entity.Type, metric Metric, period date.Range, limit int,
) (Top, error) {
	if period.Len() > MaxPeriod {
		period.First = period.Last.AddDays(1 - MaxPeriod)
	}
	var top Top
	err := conn.Read(ctx, func(on postgres.DBTX) error {
		rows, err := db.New(on).MetricReadDates(ctx, db.MetricReadDatesParams{
			FirstDate: period.First, LastDate: period.Last, MaxRows: MaxPeriod,
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
	err = top.sum(ctx, session, entityType, metric, limit)
	for postgres.IsTimeout(err) && len(top.Dates) > 1 {
		kept := max(1, len(top.Dates)/fewerDates)
		top.Others += len(top.Dates) - kept
		top.Dates = top.Dates[:kept]
		err = top.sum(ctx, session, entityType, metric, limit)
	}
	if err == nil {
		err = top.compare(ctx, session, metric, period.Len())
	}
	if postgres.IsTimeout(err) {
		return Top{Dates: top.Dates, Others: top.Others, Cut: true}, nil
	}
	if err != nil {
		return Top{}, fmt.Errorf("look for the top entities: %w", err)
	}
	return top, nil
}

// sum adds up the counts of the dates.
func (t *Top) sum(ctx context.Context, session *postgres.Session, entityType entity.Type, metric Metric, limit int) error {
	return session.Read(ctx, topTimeout, func(ctx context.Context, on postgres.DBTX) error {
		found, err := db.New(on).MetricReadTop(ctx, db.MetricReadTopParams{
			Metric: metric.Column, EventType: metric.EventType, MetricDates: t.Dates, MaxRows: int32(limit), //nolint:gosec // A page.
		})
		t.Entities = nil
		for _, row := range found {
			if row.Total > 0 {
				t.Entities = append(t.Entities, Ranked{ID: entityType.Format(row.EntityID), Count: row.Total})
			}
		}
		return err
	})
}

// compare adds the counts of the same entities a number of days earlier. It leaves them out if that takes too long.
func (t *Top) compare(ctx context.Context, session *postgres.Session, metric Metric, days int) error {
	earlier := make([]date.Date, len(t.Dates))
	for i, d := range t.Dates {
		earlier[i] = d.AddDays(-days)
	}
	ids := make([]string, len(t.Entities))
	for i, e := range t.Entities {
		ids[i] = e.ID
	}
	first := date.New(1, time.January, 1)
	if len(ids) == 0 || earlier[len(earlier)-1].Before(first) {
		return nil
	}
	err := session.Read(ctx, topTimeout, func(ctx context.Context, on postgres.DBTX) error {
		queries := db.New(on)
		known, err := queries.MetricReadDates(ctx, db.MetricReadDatesParams{
			FirstDate: earlier[len(earlier)-1], LastDate: earlier[0], MaxRows: MaxPeriod,
		})
		if err != nil {
			return err
		}
		complete := make(map[date.Date]bool, len(known))
		for _, row := range known {
			complete[row.MetricDate] = true
		}
		for _, d := range earlier {
			if !complete[d] {
				return nil
			}
		}
		rows, err := queries.MetricReadBefore(ctx, db.MetricReadBeforeParams{
			Metric: metric.Column, EventType: metric.EventType, MetricDates: earlier, Entities: ids,
		})
		counts := make(map[string]int64, len(rows))
		for _, row := range rows {
			counts[row.EntityID] = row.Total
		}
		for i := range t.Entities {
			t.Entities[i].Before = counts[t.Entities[i].ID]
		}
		t.Compared = err == nil
		return err
	})
	if postgres.IsTimeout(err) {
		return nil
	}
	return err
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
