// Package merge adds the counts of slices up, per entity, in bounded memory.
//
// A table holds at most so many entities. When there are more it keeps those that come first in key order and forgets
// the rest, so that what it holds is complete up to a bound: the next pass over the date begins above it. Memory
// therefore does not grow with the size of a day, only the number of passes does.
package merge

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/daymill/daymill/internal/entity"
)

// DefaultMaxEntities is the bound of a table where none is given.
const DefaultMaxEntities = 1_000_000

// Row is what an entity's events of a date came to.
type Row struct {
	ID                          entity.ID
	Views, Clicks, Saves, Skips int32
	// Other has the counts of every other event type, the shorter names first and those of one length in the order of
	// their bytes, as jsonb has its keys.
	Other []Other
}

// Other is the count of an event type that has no column of its own.
type Other struct {
	Type   string
	Events int32
}

// compare is jsonb's order of keys.
func (o Other) compare(eventType string) int {
	return cmp.Or(cmp.Compare(len(o.Type), len(eventType)), strings.Compare(o.Type, eventType))
}

// Events is the sum of all counts.
func (r *Row) Events() int64 {
	sum := int64(r.Views) + int64(r.Clicks) + int64(r.Saves) + int64(r.Skips)
	for i := range r.Other {
		sum += int64(r.Other[i].Events)
	}
	return sum
}

// Table is the counts of the entities of one pass.
type Table struct {
	max    int
	index  map[entity.ID]int32
	rows   []Row
	others int // entries in Other, over all rows: they take memory as entities do
	upTo   atomic.Pointer[entity.ID]
}

// New returns an empty table of at most maxEntities entities (with each count in Other taken for one more).
func New(maxEntities int) *Table {
	if maxEntities <= 0 {
		maxEntities = DefaultMaxEntities
	}
	return &Table{max: maxEntities, index: make(map[entity.ID]int32)}
}

// UpTo is the highest entity that the table is complete for; nil where it is complete for all. It may be asked while another
// goroutine adds.
func (t *Table) UpTo() *entity.ID { return t.upTo.Load() }

// Len is the number of entities.
func (t *Table) Len() int { return len(t.rows) }

// Add adds n events of a type to an entity, whose bytes it copies where it keeps them. An entity above UpTo is left for a
// later pass.
func (t *Table) Add(id []byte, eventType string, n int64) error {
	i, ok := t.index[entity.ID(id)]
	if !ok {
		if upTo := t.upTo.Load(); upTo != nil && entity.ID(id) > *upTo {
			return nil
		}
		i = int32(len(t.rows)) //nolint:gosec // The table is bounded.
		t.rows = append(t.rows, Row{ID: entity.ID(id)})
		t.index[t.rows[i].ID] = i
	}
	if err := t.add(&t.rows[i], eventType, n); err != nil {
		return err
	}
	if len(t.rows)+t.others > t.max && len(t.rows) > 1 {
		t.cut()
	}
	return nil
}

func (t *Table) add(row *Row, eventType string, n int64) error {
	var count *int32
	switch eventType {
	case "view":
		count = &row.Views
	case "click":
		count = &row.Clicks
	case "save":
		count = &row.Saves
	case "skip":
		count = &row.Skips
	default:
		i, has := slices.BinarySearchFunc(row.Other, eventType, Other.compare)
		if !has {
			t.others++
			row.Other = slices.Insert(row.Other, i, Other{Type: eventType})
		}
		count = &row.Other[i].Events
	}
	if sum := int64(*count) + n; sum > math.MaxInt32 {
		return fmt.Errorf("an entity has %d events of one type on a date, more than a count can hold", sum)
	}
	*count += int32(n) //nolint:gosec // Checked above.
	return nil
}

// cut keeps the first three quarters: enough is forgotten for the sorting to pay off over many further entities, and
// little enough for passes to stay few.
func (t *Table) cut() {
	t.sort()
	weight, keep := 0, 0
	for keep < len(t.rows) && (keep == 0 || weight < t.max/4*3) {
		weight += 1 + len(t.rows[keep].Other)
		keep++
	}
	clear(t.rows[keep:])
	t.rows = t.rows[:keep]
	upTo := t.rows[keep-1].ID
	t.upTo.Store(&upTo)
	clear(t.index)
	t.others = 0
	for i := range t.rows {
		t.index[t.rows[i].ID] = int32(i)
		t.others += len(t.rows[i].Other)
	}
}

func (t *Table) sort() {
	slices.SortFunc(t.rows, func(a, b Row) int { return strings.Compare(string(a.ID), string(b.ID)) })
}

// Rows returns the rows in key order and empties the table, whose memory they take along.
func (t *Table) Rows() []Row {
	t.index = nil
	t.sort()
	rows := t.rows
	t.rows = nil
	return rows
}
