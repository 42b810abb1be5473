package merge

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// store keeps counts in a few large slices without pointers: some 60 bytes for an entity with a uuid. A map of rows would
// take more than twice as much, and the garbage collector would scan all of it each time.
type store struct {
	most int // entities; a table inserts one more before it drops some
	seed maphash.Seed
	// slots is a hash table with linear probing: it holds row numbers from 1, and 0 for an empty slot.
	slots  []int32
	chunks [][]row // in chunks of chunkRows, so that growing copies nothing
	len    int
	ids    [][]byte
	others []other
	names  []string
	named  map[string]int32 // indexes into names
	// wide finds the other counts, numbered from 1, of rows that have many: searching their list for each
	// event type would take quadratic time.
	wide map[wideKey]int32

	idBytes, nameBytes int
}

const (
	chunkRows = 1 << 13
	chunkIDs  = 1 << 18

	rowBytes   = 44 // including its slot
	otherBytes = 12
	nameBytes  = 48 // in addition to its own
	wideBytes  = 48

	// narrow is how many other counts of a row are searched one by one. Rows with more use wide.
	narrow = 16
)

// wideKey identifies a count of a row. The position of the row's id identifies the row.
type wideKey struct {
	chunk, from, length uint32
	name                int32
}

func (r *row) wideKey(name int32) wideKey { return wideKey{r.chunk, r.from, r.length, name} }

// row is an entity's counts.
type row struct {
	chunk, from, length         uint32 // position of its id
	hash                        uint32
	views, clicks, saves, skips int32
	other                       int32 // the first of its other counts, from 1; 0 if there is none
}

// other is the count of an event type that has no column of its own.
type other struct {
	next, name, events int32
}

func newStore(most int) store {
	return store{most: most, seed: maphash.MakeSeed(), slots: make([]int32, 1<<10), named: make(map[string]int32)}
}

func (s *store) hash(id []byte) uint32 { return uint32(maphash.Bytes(s.seed, id)) } //nolint:gosec // Half of it will do.

func (s *store) row(i int32) *row { return &s.chunks[i/chunkRows][i%chunkRows] }

func (s *store) id(r *row) []byte { return s.ids[r.chunk][r.from : r.from+r.length] }

func (s *store) bytes() int {
	return s.len*rowBytes + s.idBytes + len(s.others)*otherBytes + len(s.names)*nameBytes + s.nameBytes +
		len(s.wide)*wideBytes
}

// find returns an entity's row; nil if there is none.
func (s *store) find(id []byte, hash uint32) *row {
	for at := s.home(hash); s.slots[at] != 0; at = s.next(at) {
		if r := s.row(s.slots[at] - 1); r.hash == hash && bytes.Equal(s.id(r), id) {
			return r
		}
	}
	return nil
}

func (s *store) home(hash uint32) int { return int(hash) & (len(s.slots) - 1) }

func (s *store) next(at int) int { return (at + 1) & (len(s.slots) - 1) }

// insert creates the row of an entity that has none.
func (s *store) insert(id []byte, hash uint32) *row {
	if s.len%chunkRows == 0 {
		s.chunks = append(s.chunks, make([]row, min(chunkRows, s.most+1)))
	}
	if last := len(s.ids) - 1; last < 0 || len(s.ids[last])+len(id) > cap(s.ids[last]) {
		s.ids = append(s.ids, make([]byte, 0, max(min(chunkIDs, 16*s.most), len(id))))
	}
	chunk := len(s.ids) - 1
	r := s.row(int32(s.len)) //nolint:gosec // The table is bounded.
	*r = row{
		chunk: uint32(chunk), from: uint32(len(s.ids[chunk])), length: uint32(len(id)), //nolint:gosec // See above.
		hash: hash,
	}
	s.ids[chunk] = append(s.ids[chunk], id...)
	s.idBytes += len(id)
	s.len++
	if s.len > len(s.slots)/4*3 {
		s.slots = make([]int32, 2*len(s.slots))
		for i := range int32(s.len - 1) { //nolint:gosec // See above.
			s.put(i)
		}
	}
	s.put(int32(s.len - 1)) //nolint:gosec // See above.
	return r
}

func (s *store) put(i int32) {
	at := s.home(s.row(i).hash)
	for s.slots[at] != 0 {
		at = s.next(at)
	}
	s.slots[at] = i + 1
}

// other returns the count of an event type that has no column, and creates it if necessary.
func (s *store) other(r *row, eventType string) *int32 {
	name, known := s.named[eventType]
	if !known {
		name = int32(len(s.names)) //nolint:gosec // The table is bounded.
		s.names = append(s.names, eventType)
		s.named[eventType] = name
		s.nameBytes += len(eventType)
	}
	seen, o := 0, r.other
	for ; o != 0 && seen < narrow; o = s.others[o-1].next {
		if s.others[o-1].name == name {
			return &s.others[o-1].events
		}
		seen++
	}
	if o != 0 { // There are more.
		if o = s.wide[r.wideKey(name)]; o != 0 {
			return &s.others[o-1].events
		}
	}
	s.others = append(s.others, other{next: r.other, name: name})
	r.other = int32(len(s.others)) //nolint:gosec // See above.
	if seen == narrow {
		s.widen(r)
	}
	return &s.others[len(s.others)-1].events
}

// widen adds the last count of a row with many counts to wide, and with it any earlier ones that are not in it yet.
func (s *store) widen(r *row) {
	if s.wide == nil {
		s.wide = make(map[wideKey]int32)
	}
	for o := r.other; o != 0; o = s.others[o-1].next {
		key := r.wideKey(s.others[o-1].name)
		if s.wide[key] != 0 {
			return
		}
		s.wide[key] = o
	}
}

// sort returns the row numbers in key order.
func (s *store) sort() []int32 {
	// Nearly all comparisons only need an id's first eight bytes, which lie side by side here.
	type key struct {
		prefix uint64
		row    int32
	}
	keys := make([]key, s.len)
	for i := range keys {
		var prefix [8]byte
		copy(prefix[:], s.id(s.row(int32(i))))
		keys[i] = key{binary.BigEndian.Uint64(prefix[:]), int32(i)}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return bytes.Compare(s.id(s.row(a.row)), s.id(s.row(b.row)))
	})
	order := make([]int32, len(keys))
	for i := range keys {
		order[i] = keys[i].row
	}
	return order
}
