package sink

import (
	"cmp"
	"slices"

	"github.com/daymill/daymill/internal/capture/change"
)

// Parked remembers which keys of a batch were refused, so that their later changes are not delivered out of order. The zero value is
// ready to use.
type Parked struct {
	refusals []Refusal
	keys     map[string]int64 // position of the refused change
}

// Refuse refuses a change and, through Behind, later changes of its key.
func (p *Parked) Refuse(index int, c change.Change, reason, answer string) {
	if p.keys == nil {
		p.keys = map[string]int64{}
	}
	p.keys[Key(c)] = c.Position
	p.refusals = append(p.refusals, Refusal{Index: index, Reason: reason, Answer: answer})
}

// Behind reports whether a change follows a refused one of its key, and refuses it.
func (p *Parked) Behind(index int, c change.Change) bool {
	if len(p.keys) == 0 {
		return false
	}
	position, is := p.keys[Key(c)]
	if is {
		p.refusals = append(p.refusals, Refusal{Index: index, Reason: Behind(position)})
	}
	return is
}

// Refusals returns the refusals of the batch, in order.
func (p *Parked) Refusals() []Refusal {
	slices.SortStableFunc(p.refusals, func(a, b Refusal) int { return cmp.Compare(a.Index, b.Index) })
	return p.refusals
}
