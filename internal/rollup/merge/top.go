package merge

import (
	"cmp"
	"slices"
	"strings"

	"github.com/daymill/daymill/internal/entity"
)

// MostTop is how many entities a Top keeps for each count.
const MostTop = 10

// Top keeps, for each kind of count, the few entities with the largest counts among those it has seen. The zero value has
// seen none.
type Top struct {
	Events, Views, Clicks, Saves, Skips []Ranked
}

// Ranked is an entity with one of its counts.
type Ranked struct {
	ID    entity.ID
	Count int64
}

// Add adds a row. Rows must ascend from call to call, because the first of several entities with the same
// count stays.
func (t *Top) Add(row *Row, events int64) {
	t.Events = rank(t.Events, row.ID, events)
	t.Views = rank(t.Views, row.ID, int64(row.Views))
	t.Clicks = rank(t.Clicks, row.ID, int64(row.Clicks))
	t.Saves = rank(t.Saves, row.ID, int64(row.Saves))
	t.Skips = rank(t.Skips, row.ID, int64(row.Skips))
}

// rank inserts an entity into a list if it belongs there. It rarely does, which one comparison shows.
func rank(list []Ranked, id entity.ID, count int64) []Ranked {
	if count == 0 || len(list) == MostTop && count <= list[MostTop-1].Count {
		return list
	}
	if len(list) == MostTop {
		list = list[:MostTop-1]
	}
	at := len(list)
	for at > 0 && list[at-1].Count < count {
		at--
	}
	// The id may be part of a much longer string.
	return slices.Insert(list, at, Ranked{ID: entity.ID(strings.Clone(string(id))), Count: count})
}

// Lists returns the lists by their names.
func (t *Top) Lists() map[string]*[]Ranked {
	return map[string]*[]Ranked{"events": &t.Events, "views": &t.Views, "clicks": &t.Clicks, "saves": &t.Saves, "skips": &t.Skips}
}

// Join returns the first of two lists of different entities, largest first and of equal counts in key order.
func Join(one, other []Ranked) []Ranked {
	all := slices.Concat(one, other)
	slices.SortFunc(all, func(a, b Ranked) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(string(a.ID), string(b.ID)))
	})
	return all[:min(MostTop, len(all))]
}
