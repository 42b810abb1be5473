package batch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/metric"
)

// ErrOrder is returned if Postgres returns rows in a different order from the one in which Daymill publishes them.
var ErrOrder = errors.New("Postgres and Daymill order entities differently, so their rows cannot be compared: " + //nolint:staticcheck // A name.
	"run REINDEX TABLE analytics.daily_entity_metrics, then `daymill doctor`")

// Stored adds up all stored rows of the date, in ranges of the primary key. Each range begins where Postgres says that the one
// before has ended, so no row is left out even if this process orders entities differently. For one million events of 289,000
// entities, two thirds of which have other counts, it takes 0.4 s in 12 statements. The run takes 1.9 s if it writes nothing.
func (r *Reader) Stored(ctx context.Context) (sum Totals, err error) {
	// Postgres adds them up, so the memory for rows does not limit a range.
	ranges := pace.NewSize(mostRows, 1, math.MaxInt32)
	var after *string
	for {
		if err := r.Alive(); err != nil {
			return Totals{}, err
		}
		size := int32(ranges.Value())
		sums, took, err := r.sumRange(ctx, after, size, ranges.Limit())
		switch {
		case postgres.IsTimeout(err):
			if !ranges.TimedOut(float64(size)) {
				return Totals{}, ErrTooSlow
			}
		case err != nil:
			return Totals{}, fmt.Errorf("add up what is stored: %w", err)
		default:
			sum.Events = metric.Sum(sum.Events, sums.Events)
			sum.Entities += sums.Rows
			if sums.Rows < int64(size) {
				return sum, nil
			}
			ranges.Took(float64(size), took)
			after = &sums.LastEntity
		}
		if err := r.Pacer.Pause(ctx, took); err != nil {
			return Totals{}, err
		}
	}
}

func (r *Reader) sumRange(
	ctx context.Context, after *string, size int32, limit time.Duration,
) (sums db.MetricSumsRow, took time.Duration, err error) {
	took, err = r.Pacer.Do(r.Session, func() error {
		return r.Session.Walk(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
			sums, err = db.New(on).MetricSums(ctx, db.MetricSumsParams{MetricDate: r.Date, AfterEntity: after, MaxRows: size})
			return err
		})
	})
	return sums, took, err
}

// ascend returns ErrOrder unless rows ascend and are above after, if it is given.
func ascend(after *entity.ID, rows []db.MetricRangeRow) error {
	for i := range rows {
		if after != nil && rows[i].EntityID <= *after {
			return ErrOrder
		}
		after = &rows[i].EntityID
	}
	return nil
}
