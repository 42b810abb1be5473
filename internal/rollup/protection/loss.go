package protection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// Loss is a date whose events are fewer than its last complete run has counted.
type Loss struct {
	Date     date.Date `json:"date"`
	Recorded int64     `json:"events_recorded"`
	Counted  int64     `json:"events_counted"`
}

// Erased is how many events' metrics a run that may lose them would erase.
func (l Loss) Erased() int64 { return l.Recorded - l.Counted }

// Survey is what was found of some dates.
type Survey struct {
	// Losses are the dates that a sweep leaves alone, in order.
	Losses []Loss
	// Uncounted is how many dates there was no time to count.
	Uncounted int
}

// Erased is how many events' metrics would be erased on all dates that were counted.
func (s Survey) Erased() (sum int64) {
	for _, loss := range s.Losses {
		sum += loss.Erased()
	}
	return sum
}

// errOver says that the time is over.
var errOver = errors.New("time is over")

// Look counts the events of dates that a run has completed, and says which of them have lost some. It takes no longer
// than budget, but for a statement that is under way.
func Look(
	ctx context.Context, primary, source *postgres.DB, clock pace.Clock, dates []date.Date, budget time.Duration,
) (survey Survey, err error) {
	var recorded []db.ProtectionRecordedRow
	err = primary.Read(ctx, func(on postgres.DBTX) error {
		recorded, err = db.New(on).ProtectionRecorded(ctx, dates)
		return err
	})
	if err != nil {
		return Survey{}, fmt.Errorf("look what was counted: %w", err)
	}
	if len(recorded) == 0 {
		return Survey{}, nil
	}
	session, err := source.Session(ctx)
	if err != nil {
		return Survey{}, fmt.Errorf("open source: %w", err)
	}
	defer session.Release(context.WithoutCancel(ctx))
	over := clock.Now().Add(budget)
	alive := func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if clock.Now().After(over) {
			return errOver
		}
		return nil
	}
	pacer := &pace.Pacer{Clock: clock}
	for i, row := range recorded {
		bounds := date.Bounds{From: row.FromInstant, To: row.ToInstant}
		events, err := Count(ctx, session, pacer, bounds, row.Events, alive)
		if errors.Is(err, errOver) {
			survey.Uncounted = len(recorded) - i
			break
		}
		if err != nil {
			return Survey{}, err
		}
		if events < row.Events {
			survey.Losses = append(survey.Losses, Loss{Date: row.MetricDate, Recorded: row.Events, Counted: events})
		}
	}
	return survey, nil
}
