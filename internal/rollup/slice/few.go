package slice

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
)

// mostFew is how many events Few reads at most. They take Postgres a millisecond or two, so little is lost if there are more.
const mostFew = 1_000

// MostFew returns how many events a date may have for Few to read it.
func MostFew(counts int) int { return min(mostFew, max(1, cmp.Or(counts, DefaultCounts)/5)) }

// Few adds up the events between bounds with one statement, and returns their number, if there are at most so many. Otherwise it returns false,
// and the table must not be used.
func (s *Scanner) Few(ctx context.Context, queries *db.Queries, bounds date.Bounds, most int, table Table) (events int64, all bool, err error) {
	counts := newCounts(most)
	err = queries.EventFewEach(ctx, db.EventFewParams{
		FromInstant: bounds.From, ToInstant: bounds.To, AtMost: int32(most) + 1, //nolint:gosec // At most mostFew.
	}, func(id, eventType []byte, events int64) error { return counts.add(s.Type, id, eventType, events) })
	if errors.Is(err, errTooMany) {
		return 0, false, nil
	}
	if err == nil {
		err = counts.Each(table.Add)
	}
	if err != nil {
		return 0, false, fmt.Errorf("read few events: %w", err)
	}
	return counts.Events(), table.UpTo() == nil, nil
}
