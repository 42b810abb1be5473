package slice

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
)

// errPlace says that Postgres has sent an event of a date that was not asked for.
var errPlace = errors.New("postgres has sent an event of a date that was not asked for")

// Group adds up the events of several small dates with one statement. It calls fresh for the table of a date once it knows how many events that has.
// It returns the number of each date's events; -1 if there are more than most, or more entities than the table takes.
func Group(
	ctx context.Context, queries *db.Queries, as entity.Type, bounds []date.Bounds, most int, fresh func(place, events int) Table,
) (events []int64, err error) {
	arg := db.GroupEventsParams{
		FromInstants: make([]time.Time, len(bounds)), ToInstants: make([]time.Time, len(bounds)),
		AtMost: int32(most) + 1, //nolint:gosec // At most mostFew.
	}
	counts, many := make([]*Counts, len(bounds)), make([]bool, len(bounds))
	for i, b := range bounds {
		arg.FromInstants[i], arg.ToInstants[i], counts[i] = b.From, b.To, newCounts(most)
	}
	err = queries.GroupEventsEach(ctx, arg, func(place int, id, eventType []byte) error {
		if place >= len(counts) {
			return errPlace
		}
		err := counts[place].add(as, id, eventType, 1)
		if errors.Is(err, errTooMany) {
			many[place] = true
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the events of a group: %w", err)
	}
	events = make([]int64, len(bounds))
	for i, c := range counts {
		if events[i] = -1; many[i] {
			continue
		}
		table := fresh(i, c.Len())
		if err := c.Each(table.Add); err != nil {
			return nil, fmt.Errorf("add up the events of a group: %w", err)
		}
		if table.UpTo() == nil {
			events[i] = c.Events()
		}
	}
	return events, nil
}
