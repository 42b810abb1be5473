package sink

import (
	"encoding/json"
	"fmt"

	"github.com/daymill/daymill/internal/capture/change"
)

// Collapsed is the result of a batch for one key: its last change, for sinks that store only the current row.
type Collapsed struct {
	change.Change

	Indexes []int // of all changes of the key in the batch
}

// Collapse returns the last change of each key, in the order in which the keys first occur. If that change left values unchanged, and an
// earlier change of the batch has them, they are taken from there.
func Collapse(changes []change.Change) ([]Collapsed, error) {
	at := make(map[string]int, len(changes)) // in collapsed, by key
	collapsed := make([]Collapsed, 0, len(changes))
	indexes := make([]int, len(changes))
	for i, c := range changes {
		indexes[i] = i
		key := Key(c)
		first, has := at[key]
		if !has {
			at[key] = len(collapsed)
			collapsed = append(collapsed, Collapsed{Change: c, Indexes: indexes[i : i+1 : i+1]})
			continue
		}
		before := &collapsed[first]
		if c.Op == change.Sweep && before.Op == change.Sweep {
			// One that reaches further may come first: a snapshot that was paused ends after a later one.
			if earlier, err := SweptUpTo(before.Change); err == nil {
				if later, err := SweptUpTo(c); err == nil && later < earlier {
					c.Old = before.Old
				}
			}
		}
		if len(c.Unchanged) > 0 {
			var err error
			if c, err = fill(c, before.Change); err != nil {
				return nil, err
			}
		}
		before.Change, before.Indexes = c, append(before.Indexes, i)
	}
	return collapsed, nil
}

// fill sets the unchanged values of a change from the change before it, if it has them.
func fill(c, before change.Change) (change.Change, error) {
	var earlier map[string]json.RawMessage
	if len(before.New) > 0 {
		if err := json.Unmarshal(before.New, &earlier); err != nil {
			return c, fmt.Errorf("read the row at position %d: %w", before.Position, err)
		}
	}
	merged, missing, err := Merge(c.New, c.Unchanged, earlier)
	if err != nil {
		return c, fmt.Errorf("read the row at position %d: %w", c.Position, err)
	}
	c.New, c.Unchanged = merged, missing
	return c, nil
}

// Merge adds the values of unchanged columns from an earlier row, and returns the columns that the earlier row does not have either.
func Merge(row json.RawMessage, unchanged []string, earlier map[string]json.RawMessage) (json.RawMessage, []string, error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(row, &values); err != nil {
		return nil, nil, err
	}
	missing := []string{}
	for _, name := range unchanged {
		if value, has := earlier[name]; has {
			values[name] = value
		} else {
			missing = append(missing, name)
		}
	}
	merged, err := json.Marshal(values)
	return merged, missing, err
}

// RefuseAll refuses all changes that were collapsed into one, because none of them was delivered.
func (p *Parked) RefuseAll(c Collapsed, reason, answer string) {
	for i, index := range c.Indexes {
		if i > 0 {
			reason, answer = Behind(c.Position), ""
		}
		p.refusals = append(p.refusals, Refusal{Index: index, Reason: reason, Answer: answer})
	}
}
