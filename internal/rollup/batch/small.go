package batch

import (
	"context"
	"errors"
	"slices"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// ErrUnnamed means that the row of an entity would change which may not.
var ErrUnnamed = errors.New("the row of an entity differs that nobody has requested")

// Small makes the rows of a date that has few equal to the counted ones, in a transaction of the caller's that holds the fence and has read all
// stored rows. If named is not nil, only the rows of these entities may change, which are in key order; if another one would, Small writes nothing
// and returns ErrUnnamed. It returns what it has written, and what is stored after that. The caller adds it to Rows and Batches after the commit.
func (p *Publisher) Small(
	ctx context.Context, queries *db.Queries, counted []merge.Row, stored []db.MetricRangeRow, named []entity.ID,
) (wrote figure.Rows, totals Totals, err error) {
	if err := ascend(nil, stored); err != nil {
		return figure.Rows{}, Totals{}, err
	}
	changes, totals := diff(counted, stored, Totals{})
	for _, c := range changes {
		if _, is := slices.BinarySearch(named, c.id); named != nil && !is {
			return figure.Rows{}, Totals{}, ErrUnnamed
		}
	}
	// For a few rows, COPY costs more than it saves. Nor does it matter then whether a row is really new.
	rows := p.written(changes, false)
	if err := tooLong(rows.write(ctx, queries)); err != nil {
		return figure.Rows{}, Totals{}, err
	}
	return count(changes), totals, nil
}
