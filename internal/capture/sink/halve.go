package sink

import (
	"context"
	"strconv"

	"github.com/daymill/daymill/internal/capture/change"
)

// Refused says that a batch was permanently refused as a whole. For a batch of one change, this becomes a [Refusal].
type Refused struct { //nolint:errname // The name says what happened to the batch.
	Reason string // one sentence
	Answer string // what the sink answered
}

func (r *Refused) Error() string { return r.Reason }

// Halve delivers changes. If deliver returns a [Refused], Halve delivers each half, in order, to find the changes that cause it. Changes
// that follow a refused change of the same key are refused without being delivered, to keep the order of the key. Halve returns any
// other error.
func Halve(
	ctx context.Context, changes []change.Change, deliver func(ctx context.Context, part []change.Change) error,
) ([]Refusal, error) {
	h := halver{deliver: deliver}
	indexes := make([]int, len(changes))
	for i := range changes {
		indexes[i] = i
	}
	if err := h.halve(ctx, changes, indexes); err != nil {
		return nil, err
	}
	return h.parked.Refusals(), nil
}

// Each is like [Halve], but delivers one change at a time.
func Each(
	ctx context.Context, changes []change.Change, deliver func(ctx context.Context, one []change.Change) error,
) ([]Refusal, error) {
	h := halver{deliver: deliver}
	for i := range changes {
		if err := h.halve(ctx, changes[i:i+1], []int{i}); err != nil {
			return nil, err
		}
	}
	return h.parked.Refusals(), nil
}

type halver struct {
	deliver func(ctx context.Context, part []change.Change) error
	parked  Parked
}

func (h *halver) halve(ctx context.Context, changes []change.Change, indexes []int) error {
	changes, indexes = h.inOrder(changes, indexes)
	if len(changes) == 0 {
		return nil
	}
	err := h.deliver(ctx, changes)
	refused, ok := err.(*Refused) //nolint:errorlint // Only an unwrapped Refused counts.
	switch {
	case !ok:
		return err
	case len(changes) == 1:
		h.parked.Refuse(indexes[0], changes[0], refused.Reason, refused.Answer)
		return nil
	}
	middle := len(changes) / 2
	if err := h.halve(ctx, changes[:middle], indexes[:middle]); err != nil {
		return err
	}
	return h.halve(ctx, changes[middle:], indexes[middle:])
}

// inOrder returns the changes whose key has not been refused.
func (h *halver) inOrder(changes []change.Change, indexes []int) ([]change.Change, []int) {
	if len(h.parked.keys) == 0 {
		return changes, indexes
	}
	var rest []change.Change
	var restIndexes []int
	for i, c := range changes {
		if !h.parked.Behind(indexes[i], c) {
			rest, restIndexes = append(rest, c), append(restIndexes, indexes[i])
		}
	}
	return rest, restIndexes
}

// Behind returns the reason of a change that waits behind a refused change of its key.
func Behind(position int64) string {
	return "it waits behind the change of its key at position " + strconv.FormatInt(position, 10)
}
