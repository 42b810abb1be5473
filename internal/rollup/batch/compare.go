package batch

import (
	"context"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// Difference is an entity whose stored row differs from what was counted. It is valid only until the function that receives it
// returns.
type Difference struct {
	ID entity.ID
	// Stored is nil if the row is missing, and Counted is nil if the entity has no events.
	Stored  *db.MetricRangeRow
	Counted *merge.Row
}

// Compare calls a function, in key order, with every difference between the counted rows,
// which must ascend, and the date's stored rows above after, and up to upTo if it is given. It adds what was counted to Totals.
func (r *Reader) Compare(
	ctx context.Context, counted merge.Rows, after, upTo *entity.ID, found func(Difference),
) error {
	return r.walk(ctx, counted, after, upTo, func(changes []change) error {
		for _, c := range changes {
			found(Difference{ID: c.id, Stored: c.was, Counted: c.row})
		}
		return nil
	})
}
