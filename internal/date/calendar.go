package date

import (
	"errors"
	"slices"
	"sort"
	"time"
)

// Calendar says which date an instant belongs to, within a run of dates whose beginnings Postgres has given
// (analytics.date_start): it does for many instants what analytics.date_of does for one. The zero value has no dates.
type Calendar struct {
	first  Date
	starts []int64 // microseconds since 1970; one more than there are dates
}

// NewCalendar returns the calendar of the dates from first on. starts are the instants at which each of them begins,
// and last the one at which the last of them ends. A date that the zone skipped begins and ends at one instant.
func NewCalendar(first Date, starts []time.Time) (Calendar, error) {
	micros := make([]int64, len(starts))
	for i, start := range starts {
		micros[i] = start.UnixMicro()
	}
	if first.IsZero() || len(micros) < 2 || !slices.IsSorted(micros) {
		return Calendar{}, errors.New("a calendar needs a first date, and in ascending order the instants its dates begin and end")
	}
	return Calendar{first: first, starts: micros}, nil
}

// At returns the date that an instant belongs to and the bounds of that date, all in microseconds since 1970: from is
// in it, to is the first after it. The date is none where the instant is before or after all the dates.
func (c Calendar) At(micros int64) (date Date, from, to int64) {
	// Of dates that begin at the same instant all but the last are empty.
	next := sort.Search(len(c.starts), func(i int) bool { return c.starts[i] > micros })
	if next == 0 || next == len(c.starts) {
		return Date{}, 0, 0
	}
	return c.first.AddDays(next - 1), c.starts[next-1], c.starts[next]
}
