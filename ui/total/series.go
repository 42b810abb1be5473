package total

import (
	"strconv"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/rollup/merge"
	"github.com/daymill/daymill/ui/component"
)

// Classes of series that are not one event type.
const (
	restSeries    = "rest"
	unknownSeries = "unknown"
)

// othersShown is how many event types without a column have a series of their own.
const othersShown = 4

// division divides the events of dates by type.
type division struct {
	series []component.Series
	before []int64 // of each series, over the period before
	// unknown and unknownBefore count the dates whose events were not counted by type.
	unknown, unknownBefore int
}

// typed reports whether at least one date has counts by type.
func (d *division) typed() bool { return len(d.series) > 1 }

// divide returns the series of a range: the four columns, the most frequent other types, all remaining types,
// and the events that were not counted by type. If no date has counts by type, there is one series of all
// events.
func divide(now, before map[date.Date]int64, types, typesBefore map[date.Date]merge.Sums) division {
	var d division
	var sums, sumsBefore merge.Sums
	var unknown, unknownBefore int64
	sums, unknown, d.unknown = addTypes(now, types)
	sumsBefore, unknownBefore, d.unknownBefore = addTypes(before, typesBefore)
	if d.unknown == len(now) {
		d.series = []component.Series{{Name: "events", Class: "views", Total: unknown}}
		d.before = []int64{sumsBefore.Total() + unknownBefore}
		return d
	}
	d.series = []component.Series{
		{Name: "views", Class: "views"}, {Name: "clicks", Class: "clicks"}, {Name: "saves", Class: "saves"}, {Name: "skips", Class: "skips"},
	}
	names := sums.Names()
	shown := min(othersShown, len(names))
	if len(names) == othersShown+1 && sums.Rest == 0 && sumsBefore.Rest == 0 && len(sumsBefore.Other) <= len(names) {
		shown++
	}
	for i, name := range names[:shown] {
		d.series = append(d.series, component.Series{Name: name, Class: "other" + strconv.Itoa(i+1)})
	}
	rest := component.Series{Name: "other event types", Class: restSeries}
	lost := component.Series{Name: "not counted by type", Class: unknownSeries}
	if sums.Rest > 0 || len(names) > shown {
		d.series = append(d.series, rest)
	}
	if unknown > 0 {
		d.series = append(d.series, lost)
	}
	totals, totalsBefore := d.values(sums, unknown), d.values(sumsBefore, unknownBefore)
	for i := range d.series {
		d.series[i].Total = totals[i]
	}
	d.before = totalsBefore
	return d
}

// addTypes adds up the counts by type of dates. It counts the events of dates that have none, or whose counts
// do not add up to the ledger's number of events, as unknown.
func addTypes(events map[date.Date]int64, types map[date.Date]merge.Sums) (sums merge.Sums, unknown int64, dates int) {
	for d, n := range events {
		if one, known := types[d]; known && one.Total() == n {
			sums.Plus(one)
			continue
		}
		unknown += n
		if n > 0 {
			dates++
		}
	}
	return sums, unknown, dates
}

// values returns the events of each series.
func (d *division) values(sums merge.Sums, unknown int64) []int64 {
	values := make([]int64, len(d.series))
	rest := sums.Total()
	for i, s := range d.series {
		switch s.Class {
		case "views":
			values[i] = sums.Views
		case "clicks":
			values[i] = sums.Clicks
		case "saves":
			values[i] = sums.Saves
		case "skips":
			values[i] = sums.Skips
		case restSeries:
			values[i] = rest
		case unknownSeries:
			values[i] = unknown
		default:
			values[i] = sums.Other[s.Name]
		}
		if s.Class != restSeries && s.Class != unknownSeries {
			rest -= values[i]
		}
	}
	return values
}

// of returns the events of each series on a date.
func (d *division) of(events int64, types merge.Sums, known bool) []int64 {
	switch {
	case !d.typed():
		return []int64{events}
	case known && types.Total() == events:
		return d.values(types, 0)
	default:
		return d.values(merge.Sums{}, events)
	}
}
