package merge

import (
	"cmp"
	"slices"
	"sort"
	"strings"

	"github.com/daymill/daymill/internal/entity"
)

// Row holds the counts of an entity's events of a date.
type Row struct {
	ID                          entity.ID
	Views, Clicks, Saves, Skips int32
	// Other has the counts of all other event types, shorter names first and names of the same length in byte order, which is
	// the order of jsonb's keys.
	Other []Other
}

// Other is the count of an event type that has no column of its own.
type Other struct {
	Type   string
	Events int32
}

func (o Other) compare(with Other) int {
	return cmp.Or(cmp.Compare(len(o.Type), len(with.Type)), strings.Compare(o.Type, with.Type))
}

// Events is the sum of all counts.
func (r *Row) Events() int64 {
	sum := int64(r.Views) + int64(r.Clicks) + int64(r.Saves) + int64(r.Skips)
	for i := range r.Other {
		sum += int64(r.Other[i].Events)
	}
	return sum
}

// Rows are the rows of a table, or a part of them, in key order.
type Rows struct {
	store *store
	order []int32
}

// Len returns the number of rows.
func (r Rows) Len() int { return len(r.order) }

// Slice returns the rows from one index up to, but not including, another.
func (r Rows) Slice(from, to int) Rows { return Rows{store: r.store, order: r.order[from:to]} }

// ID returns the entity of a row.
func (r Rows) ID(i int) entity.ID { return entity.ID(r.store.id(r.store.row(r.order[i]))) }

// Through returns how many rows are not above an entity.
func (r Rows) Through(id entity.ID) int {
	return sort.Search(r.Len(), func(i int) bool { return string(r.store.id(r.store.row(r.order[i]))) > string(id) })
}

// Events returns the sum of all rows' counts.
func (r Rows) Events() (sum int64) {
	for _, i := range r.order {
		from := r.store.row(i)
		sum += int64(from.views) + int64(from.clicks) + int64(from.saves) + int64(from.skips)
		for o := from.other; o != 0; o = r.store.others[o-1].next {
			sum += int64(r.store.others[o-1].events)
		}
	}
	return sum
}

// List returns the rows as structs, each some sixty bytes larger than in the table: take many rows in parts.
func (r Rows) List() []Row {
	var ids strings.Builder
	others := 0
	for _, i := range r.order {
		from := r.store.row(i)
		ids.Write(r.store.id(from))
		for o := from.other; o != 0; o = r.store.others[o-1].next {
			others++
		}
	}
	list, all, rest := make([]Row, len(r.order)), make([]Other, 0, others), ids.String()
	for n, i := range r.order {
		from := r.store.row(i)
		begin := len(all)
		for o := from.other; o != 0; o = r.store.others[o-1].next {
			all = append(all, Other{Type: r.store.names[r.store.others[o-1].name], Events: r.store.others[o-1].events})
		}
		list[n] = Row{
			ID: entity.ID(rest[:from.length]), Views: from.views, Clicks: from.clicks, Saves: from.saves, Skips: from.skips,
			Other: all[begin:len(all):len(all)],
		}
		rest = rest[from.length:]
		slices.SortFunc(list[n].Other, Other.compare)
	}
	return list
}
