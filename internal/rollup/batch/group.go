package batch

import (
	"context"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// Group collects what differs of several small dates, to write it with one statement in a transaction that has locked all of them.
type Group struct {
	Type entity.Type

	rows db.GroupWriteParams
}

// Add compares the counted rows of a date with all of its stored ones. It returns what Write will write, and what is stored after that.
func (g *Group) Add(day date.Date, counted []merge.Row, stored []db.MetricRangeRow) (figure.Rows, Totals, error) {
	if err := ascend(nil, stored); err != nil {
		return figure.Rows{}, Totals{}, err
	}
	changes, totals := diff(counted, stored, Totals{})
	r := &g.rows
	for _, c := range changes {
		id := g.Type.Format(c.id)
		if c.row == nil {
			r.GoneDates, r.GoneIds = append(r.GoneDates, day), append(r.GoneIds, id)
			continue
		}
		r.MetricDates, r.EntityIds = append(r.MetricDates, day), append(r.EntityIds, id)
		r.ViewsCounts, r.ClicksCounts = append(r.ViewsCounts, c.row.Views), append(r.ClicksCounts, c.row.Clicks)
		r.SavesCounts, r.SkipsCounts = append(r.SavesCounts, c.row.Saves), append(r.SkipsCounts, c.row.Skips)
		r.OtherCounts = append(r.OtherCounts, string(appendOther(nil, c.row.Other)))
	}
	return count(changes), totals, nil
}

// Write writes what Add has collected.
func (g *Group) Write(ctx context.Context, queries *db.Queries) error {
	if len(g.rows.EntityIds)+len(g.rows.GoneIds) == 0 {
		return nil
	}
	return tooLong(queries.GroupWrite(ctx, g.rows))
}
