package slice

import (
	"math"

	"github.com/daymill/daymill/internal/entity"
)

// mostBytes bounds the entities and event types of a statement's counts.
const mostBytes = 8 << 20

// Counts is what a statement has counted: how many events of a type an entity has. The same entity and type may come
// more than once. It is kept in a few long pieces of memory, which the next statements use again: a row with two strings
// of its own would cost more than reading it does.
type Counts struct {
	most int

	ids    []byte
	ends   []int32 // of each count's entity, in ids
	types  []int32 // of each count, in names
	events []int32

	names []string
	named map[string]int32 // where in names
	bytes int
}

func newCounts(most int) *Counts { return &Counts{most: most, named: make(map[string]int32)} }

func (c *Counts) reset() {
	c.ids, c.ends, c.types, c.events = c.ids[:0], c.ends[:0], c.types[:0], c.events[:0]
	c.names, c.bytes = c.names[:0], 0
	clear(c.named)
}

// add takes a row in as Postgres has sent it.
func (c *Counts) add(t entity.Type, sentID, eventType []byte, events int64) (err error) {
	if len(c.ends) == c.most || len(c.ids)+c.bytes > mostBytes {
		return errTooMany
	}
	if events > math.MaxInt32 {
		return errTooMany // So many events are no slice.
	}
	name, known := c.named[string(eventType)]
	if !known {
		name = int32(len(c.names)) //nolint:gosec // Bounded by most.
		text := string(eventType)
		c.named[text] = name
		c.names = append(c.names, text)
		c.bytes += len(text)
	}
	if c.ids, err = t.AppendBinary(c.ids, sentID); err != nil {
		return err
	}
	c.ends = append(c.ends, int32(len(c.ids))) //nolint:gosec // Bounded by mostBytes.
	c.types = append(c.types, name)
	c.events = append(c.events, int32(events)) //nolint:gosec // Checked above.
	return nil
}

// Len is the number of counts.
func (c *Counts) Len() int { return len(c.ends) }

// Events is the sum of the counts.
func (c *Counts) Events() (sum int64) {
	for _, n := range c.events {
		sum += int64(n)
	}
	return sum
}

// Each hands the counts on until do returns an error, which it then returns. The id has the bytes of an [entity.ID], and is
// only valid until do returns.
func (c *Counts) Each(do func(id []byte, eventType string, events int64) error) error {
	begin := int32(0)
	for i, end := range c.ends {
		if err := do(c.ids[begin:end], c.names[c.types[i]], int64(c.events[i])); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

// feed adds counts up while the next statement is under way.
type feed struct {
	table Table
	spare *Counts    // one of the two that take turns: what is being added, or was
	done  chan error // of what is being added; nil where nothing is
}

// add begins to add counts to the table, once those before are in, and returns others to fill meanwhile.
func (f *feed) add(counts *Counts) (next *Counts, err error) {
	if err := f.wait(); err != nil {
		return counts, err
	}
	next, f.spare = f.spare, counts
	done := make(chan error, 1)
	f.done = done
	table := f.table
	go func() { done <- counts.Each(table.Add) }()
	return next, nil
}

// wait returns once nothing is being added any more.
func (f *feed) wait() error {
	if f.done == nil {
		return nil
	}
	err := <-f.done
	f.done = nil
	return err
}
