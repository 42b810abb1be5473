package batch

import (
	"context"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// Difference is an entity whose row is not what was counted. It is valid only until the function that is given it
// returns.
type Difference struct {
	ID entity.ID
	// Stored is nil where the row is missing, Counted where the entity has no event.
	Stored  *db.MetricRangeRow
	Counted *merge.Row
}

// Compare is Publish without the writing: it hands on, in key order, every difference between the date's rows above after,
// and not above upTo where it is given, and the counted ones, which ascend. Totals moves on by what was counted.
func (p *Publisher) Compare(
	ctx context.Context, counted merge.Rows, after, upTo *entity.ID, found func(Difference),
) error {
	return p.walk(ctx, counted, after, upTo, func(changes []change) error {
		for _, c := range changes {
			found(Difference{ID: c.id, Stored: c.was, Counted: c.row})
		}
		return nil
	})
}
