package metric

import (
	"context"
	"errors"
	"fmt"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// mostBytes is how many bytes of other counts are read of one entity at once. In memory they take some ten times as much.
const mostBytes = 8 << 20

// ErrTooMuch says that an entity's metrics of a range are more than can be shown at once.
var ErrTooMuch = errors.New("there are too many event types, or too long ones, for all these dates at once: choose a shorter range, " +
	"or take the CSV")

// CheckSize returns ErrTooMuch where a range is more than should be read at once.
func CheckSize(ctx context.Context, on postgres.DBTX, id string, dates date.Range) error {
	bytes, err := db.New(on).MetricReadSize(ctx, db.MetricReadSizeParams{EntityID: id, FirstDate: dates.First, LastDate: dates.Last})
	switch {
	case err != nil:
		return fmt.Errorf("measure the entity's metrics: %w", err)
	case bytes > mostBytes:
		return ErrTooMuch
	default:
		return nil
	}
}
