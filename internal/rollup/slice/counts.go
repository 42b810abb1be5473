package slice

import (
	"math"

	"github.com/daymill/daymill/internal/entity"
)

// mostBytes limits the entities and event types of one statement's counts.
const mostBytes = 8 << 20

// Counts are the results of one statement: how many events of each type an entity has. The same entity and type may occur
// more than once. They are kept in a few large slices that the next statements use again: a row with two strings of its own
// would cost more than reading it.
type Counts struct {
	most int

	ids    []byte
	ends   []int32 // ends of each count's entity in ids
	types  []int32 // each count's index in names
	events []int32

	names []string
	named map[string]int32 // indexes into names
	bytes int
}

func newCounts(most int) *Counts { return &Counts{most: most, named: make(map[string]int32)} }

func (c *Counts) reset() {
	c.ids, c.ends, c.types, c.events = c.ids[:0], c.ends[:0], c.types[:0], c.events[:0]
	c.names, c.bytes = c.names[:0], 0
	clear(c.named)
}

// add adds a row in the form in which Postgres sent it.
func (c *Counts) add(t entity.Type, sentID, eventType []byte, events int64) (err error) {
	if len(c.ends) == c.most || len(c.ids)+c.bytes > mostBytes {
		return errTooMany
	}
	if events > math.MaxInt32 {
		return errTooMany // No slice has that many events.
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

// Len returns the number of counts.
func (c *Counts) Len() int { return len(c.ends) }

// Events returns the sum of the counts.
func (c *Counts) Events() (sum int64) {
	for _, n := range c.events {
		sum += int64(n)
	}
	return sum
}

// Each calls do for each count until do returns an error, and returns that error. The id has the bytes of an [entity.ID] and
// is only valid until do returns.
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

// feed adds up counts while the next statement runs.
type feed struct {
	table Table
	spare *Counts    // the other one of two buffers, which is being added or was added last
	done  chan error // receives the result of the addition; nil if none is running
}

// add starts to add counts to the table once the previous addition has ended, and returns another buffer to fill in the meantime.
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

// wait waits until no addition is running.
func (f *feed) wait() error {
	if f.done == nil {
		return nil
	}
	err := <-f.done
	f.done = nil
	return err
}
