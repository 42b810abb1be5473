package batch

import (
	"context"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/rollup/figure"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// Small makes the rows of a date that has few equal to the counted ones, in a transaction of the caller's that holds the fence and has read all
// stored rows. It returns what it has written, and what is stored after that. The caller adds it to Rows and Batches after the commit.
func (p *Publisher) Small(
	ctx context.Context, queries *db.Queries, counted []merge.Row, stored []db.MetricRangeRow,
) (wrote figure.Rows, totals Totals, err error) {
	if err := ascend(nil, stored); err != nil {
		return figure.Rows{}, Totals{}, err
	}
	changes, totals := diff(counted, stored, Totals{})
	// For a few rows, COPY costs more than it saves. Nor does it matter then whether a row is really new.
	rows := p.written(changes, false)
	if err := tooLong(rows.write(ctx, queries)); err != nil {
		return figure.Rows{}, Totals{}, err
	}
	return count(changes), totals, nil
}
