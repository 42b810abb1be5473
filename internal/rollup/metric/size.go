package metric

import (
	"context"
	"errors"
	"fmt"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
)

// mostBytes is how many bytes of other counts of one entity are read at once. In memory they take about ten times as much.
const mostBytes = 8 << 20

// ErrTooMuch says that an entity's metrics of a range are too large to be shown at once.
var ErrTooMuch = errors.New("these dates have too many event types, or too long ones, to be shown at once: choose a shorter range, " +
	"or download the CSV")

// CheckSize returns ErrTooMuch if an entity's metrics of a range are too large to be read at once.
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
