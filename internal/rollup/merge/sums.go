package merge

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

const (
	// MostTypes is the maximum number of event types without a column that are stored for a date.
	MostTypes = 50
	// mostCounted is the maximum number of them that are counted separately while rows are added up. It
	// bounds the memory.
	mostCounted = 10_000
	// longestType is the maximum length of the name of a type that is counted separately, in bytes.
	longestType = 200
)

// Sums has the number of events of many rows, by type. The zero value is ready to use.
type Sums struct {
	Views  int64            `json:"views"`
	Clicks int64            `json:"clicks"`
	Saves  int64            `json:"saves"`
	Skips  int64            `json:"skips"`
	Other  map[string]int64 `json:"other,omitempty"` // by the name of a type without a column
	Rest   int64            `json:"rest,omitempty"`  // events of all types that are not in Other
}

// Add adds a row.
func (s *Sums) Add(row *Row) {
	s.Views += int64(row.Views)
	s.Clicks += int64(row.Clicks)
	s.Saves += int64(row.Saves)
	s.Skips += int64(row.Skips)
	for _, other := range row.Other {
		s.other(other.Type, int64(other.Events), mostCounted)
	}
}

// other adds events of a type without a column: to Other if it has fewer than most types, otherwise to Rest.
func (s *Sums) other(name string, events int64, most int) {
	_, known := s.Other[name]
	if !known && (len(s.Other) >= most || len(name) > longestType) {
		s.Rest += events
		return
	}
	if s.Other == nil {
		s.Other = make(map[string]int64)
	}
	s.Other[name] += events
}

// Plus adds sums.
func (s *Sums) Plus(more Sums) {
	s.Views += more.Views
	s.Clicks += more.Clicks
	s.Saves += more.Saves
	s.Skips += more.Skips
	s.Rest += more.Rest
	for name, events := range more.Other {
		s.other(name, events, mostCounted)
	}
}

// Total returns the number of all events.
func (s *Sums) Total() int64 {
	total := s.Views + s.Clicks + s.Saves + s.Skips + s.Rest
	for _, events := range s.Other {
		total += events
	}
	return total
}

// Names returns the types without a column, most frequent first.
func (s *Sums) Names() []string {
	return slices.SortedFunc(maps.Keys(s.Other), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Other[b], s.Other[a]), strings.Compare(a, b))
	})
}

// Short returns the sums with only the most frequent types in Other, and adds all others to Rest.
func (s *Sums) Short(most int) Sums {
	short := Sums{Views: s.Views, Clicks: s.Clicks, Saves: s.Saves, Skips: s.Skips, Rest: s.Rest}
	for _, name := range s.Names() {
		if s.Other[name] != 0 {
			short.other(name, s.Other[name], most)
		}
	}
	return short
}

// Replace returns the sums after some rows were counted again: was are the sums of these rows before, counted
// those after. known is false if a number would become negative, because the sums cannot be computed then.
func (s *Sums) Replace(was, counted Sums) (after Sums, known bool) {
	after = Sums{
		Views: s.Views - was.Views + counted.Views, Clicks: s.Clicks - was.Clicks + counted.Clicks,
		Saves: s.Saves - was.Saves + counted.Saves, Skips: s.Skips - was.Skips + counted.Skips,
		Rest: s.Rest - was.Rest + counted.Rest, Other: maps.Clone(s.Other),
	}
	// A type that is not in Other may be part of Rest.
	most := MostTypes
	if s.Rest > 0 {
		most = 0
	}
	for _, name := range was.Names() {
		after.other(name, -was.Other[name], most)
	}
	for _, name := range counted.Names() {
		after.other(name, counted.Other[name], most)
	}
	known = min(after.Views, after.Clicks, after.Saves, after.Skips, after.Rest) >= 0
	for _, events := range after.Other {
		known = known && events >= 0
	}
	return after, known
}
