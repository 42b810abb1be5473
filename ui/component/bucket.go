package component

import "github.com/daymill/daymill/internal/date"

// Units of columns.
const (
	Date  = "date"
	Week  = "week"
	Month = "month"
)

// How many dates of a range a chart has room for, by unit.
const (
	daysAsDays  = 120
	daysAsWeeks = 800
)

// UnitFor returns the unit for which a chart of a range has room.
func UnitFor(dates date.Range) string {
	switch {
	case dates.Len() <= daysAsDays:
		return Date
	case dates.Len() <= daysAsWeeks:
		return Week
	default:
		return Month
	}
}

// BucketIndex finds a date's column.
type BucketIndex struct {
	Unit  string
	start date.Date // first day of the first column's full period
}

// NewBuckets divides a range into dates, weeks from Monday, or months.
func NewBuckets(dates date.Range, unit string) ([]Bucket, BucketIndex) {
	index := BucketIndex{Unit: unit}
	switch unit {
	case Date:
		index.start = dates.First
	case Week:
		index.start = dates.First.AddDays(-(int(dates.First.Weekday()) + 6) % 7)
	default:
		year, month, _ := dates.First.Date()
		index.start = date.New(year, month, 1)
	}
	var all []Bucket
	for at := index.start; !at.After(dates.Last); {
		next := index.next(at)
		b := Bucket{Label: at.String(), Title: at.String()}
		switch unit {
		case Week:
			b.Title = "Week of " + at.String()
		case Month:
			b.Label = at.String()[:len("2026-03")]
			b.Title = b.Label
		}
		if unit != Date && (at.Before(dates.First) || next.AddDays(-1).After(dates.Last)) {
			b.Title += " (a part of it)"
		}
		all = append(all, b)
		at = next
	}
	return all, index
}

func (x BucketIndex) next(at date.Date) date.Date {
	switch x.Unit {
	case Date:
		return at.AddDays(1)
	case Week:
		return at.AddDays(7)
	default:
		year, month, _ := at.Date()
		return date.New(year, month+1, 1)
	}
}

// Of returns the number of a date's column.
func (x BucketIndex) Of(d date.Date) int {
	switch x.Unit {
	case Date:
		return d.Sub(x.start)
	case Week:
		return d.Sub(x.start) / 7
	default:
		year, month, _ := d.Date()
		firstYear, firstMonth, _ := x.start.Date()
		return (year-firstYear)*12 + int(month) - int(firstMonth)
	}
}
