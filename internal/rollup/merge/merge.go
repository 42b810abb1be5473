// Package merge adds up the counts of slices per entity, in bounded memory.
//
// A table holds a limited number of entities. When there are more, it keeps those that come first in key order and drops the
// rest, so that what it holds is complete up to a bound. The next pass over the date begins above the bound. So memory does
// not grow with the size of a day; only the number of passes does.
package merge

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/daymill/daymill/internal/entity"
)

// DefaultMaxEntities is the default bound of a table, and MinMaxEntities the smallest bound that [Affordable] returns.
const (
	DefaultMaxEntities = 1_000_000
	MinMaxEntities     = 5_000
)

// perEntity is how many bytes an entity costs a process that counts and publishes it, including buffers and memory that the
// garbage collector has not freed yet.
const perEntity = 3 * bytesPerEntity

// Affordable returns the bound for each table of a process that has tables of them at a time and bytes of memory. The tables may
// use half of the memory. It returns at most DefaultMaxEntities, and DefaultMaxEntities if bytes is 0.
func Affordable(bytes uint64, tables int) int {
	if bytes == 0 {
		return DefaultMaxEntities
	}
	each := bytes / 2 / uint64(max(1, tables)) / perEntity
	return int(min(max(each, MinMaxEntities), DefaultMaxEntities))
}

// bytesPerEntity is the average memory of an entity: that of one with a uuid and one other event type. Longer ids and more
// types leave room for fewer entities.
const bytesPerEntity = rowBytes + 16 + otherBytes

// Table holds the counts of one pass's entities.
type Table struct {
	max   int
	store store
	upTo  atomic.Pointer[entity.ID]
}

// New returns an empty table for at most maxEntities entities, with at most 72 bytes for each.
func New(maxEntities int) *Table {
	if maxEntities <= 0 {
		maxEntities = DefaultMaxEntities
	}
	return &Table{max: maxEntities, store: newStore(maxEntities)}
}

// UpTo returns the highest entity for which the table is complete; nil if it is complete for all. It may be called while
// another goroutine adds.
func (t *Table) UpTo() *entity.ID { return t.upTo.Load() }

// Len returns the number of entities.
func (t *Table) Len() int { return t.store.len }

// Add adds n events of a type to an entity. It copies the entity's bytes if it keeps them. It ignores an entity above UpTo,
// which a later pass will count.
func (t *Table) Add(id []byte, eventType string, n int64) error {
	hash := t.store.hash(id)
	r := t.store.find(id, hash)
	if r == nil {
		if upTo := t.upTo.Load(); upTo != nil && string(id) > string(*upTo) {
			return nil
		}
		r = t.store.insert(id, hash)
	}
	var count *int32
	switch eventType {
	case "view":
		count = &r.views
	case "click":
		count = &r.clicks
	case "save":
		count = &r.saves
	case "skip":
		count = &r.skips
	default:
		count = t.store.other(r, eventType)
	}
	if sum := int64(*count) + n; sum > math.MaxInt32 {
		return fmt.Errorf("an entity has %d events of one type on a date, more than a count can hold", sum)
	}
	*count += int32(n) //nolint:gosec // Checked above.
	if t.full(t.store.len, t.store.bytes(), 1) {
		t.cut()
	}
	return nil
}

// full reports whether entities of bytes in total exceed a part of the table's limit. One entity always fits.
func (t *Table) full(entities, bytes int, part float64) bool {
	most := part * float64(t.max)
	return entities > 1 && (float64(entities) > most || float64(bytes) > most*bytesPerEntity)
}

// cut keeps the first three quarters. It drops enough that one sort serves many further entities, and so little that the
// number of passes stays small.
func (t *Table) cut() {
	sorted, kept := t.store.sort(), newStore(t.max)
	kept.seed = t.store.seed
	for _, i := range sorted {
		from := t.store.row(i)
		id := t.store.id(from)
		if t.full(kept.len+1, kept.bytes()+rowBytes+len(id), 3.0/4) {
			break
		}
		to := kept.insert(id, from.hash)
		to.views, to.clicks, to.saves, to.skips = from.views, from.clicks, from.saves, from.skips
		for o := from.other; o != 0; o = t.store.others[o-1].next {
			*kept.other(to, t.store.names[t.store.others[o-1].name]) = t.store.others[o-1].events
		}
	}
	last := entity.ID(kept.id(kept.row(int32(kept.len - 1)))) //nolint:gosec // The table is bounded.
	t.store = kept
	t.upTo.Store(&last)
}

// Rows returns the rows in key order. Nothing may be added afterwards.
func (t *Table) Rows() Rows {
	order := t.store.sort()
	t.store.slots = nil
	return Rows{store: &t.store, order: order}
}
