package date

import (
	"errors"
	"slices"
	"sort"
	"time"
)

// Calendar finds the date of an instant, within consecutive dates whose beginnings Postgres has computed
// (analytics.date_start). It does for many instants what analytics.date_of does for one. The zero value has no dates.
type Calendar struct {
	first  Date
	starts []int64 // microseconds since 1970; one more than there are dates
}

// NewCalendar returns the calendar of consecutive dates from first on. starts are the instants at which they begin, followed
// by the end of the last date. A date that the zone skipped begins and ends at the same instant.
func NewCalendar(first Date, starts []time.Time) (Calendar, error) {
	micros := make([]int64, len(starts))
	for i, start := range starts {
		micros[i] = start.UnixMicro()
	}
	if first.IsZero() || len(micros) < 2 || !slices.IsSorted(micros) {
		return Calendar{}, errors.New("a calendar needs a first date, and the instants at which its dates begin and end, in ascending order")
	}
	return Calendar{first: first, starts: micros}, nil
}

// At returns the date of an instant and the date's bounds, in microseconds since 1970: from is the first instant of the date,
// to is the first after it. The date is zero if the instant is before or after all dates.
func (c Calendar) At(micros int64) (date Date, from, to int64) {
	// If several dates begin at the same instant, all but the last are empty.
	next := sort.Search(len(c.starts), func(i int) bool { return c.starts[i] > micros })
	if next == 0 || next == len(c.starts) {
		return Date{}, 0, 0
	}
	return c.first.AddDays(next - 1), c.starts[next-1], c.starts[next]
}
