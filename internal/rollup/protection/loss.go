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

// Loss is a date that has fewer events than its last complete run counted.
type Loss struct {
	Date     date.Date `json:"date"`
	Recorded int64     `json:"events_recorded"`
	Counted  int64     `json:"events_counted"`
}

// Erased returns how many events would lose their metrics if a run erased them.
func (l Loss) Erased() int64 { return l.Recorded - l.Counted }

// Survey is the result of counting the events of some dates.
type Survey struct {
	// Losses lists the dates that a sweep leaves unchanged, in order.
	Losses []Loss
	// Uncounted is how many dates were not counted because the time ran out.
	Uncounted int
}

// Erased returns how many events would lose their metrics, over all counted dates.
func (s Survey) Erased() (sum int64) {
	for _, loss := range s.Losses {
		sum += loss.Erased()
	}
	return sum
}

// errOver says that the time limit ran out.
var errOver = errors.New("the time limit was reached")

// Look counts the events of dates that a run has completed, and returns those that have lost events. When budget runs out, it
// stops after the current statement. The rest is uncounted then, and also if a statement does not end in time.
func Look(
	ctx context.Context, primary, source *postgres.DB, clock pace.Clock, dates []date.Date, budget time.Duration,
) (survey Survey, err error) {
	var recorded []db.ProtectionRecordedRow
	err = primary.Read(ctx, func(on postgres.DBTX) error {
		recorded, err = db.New(on).ProtectionRecorded(ctx, dates)
		return err
	})
	if err != nil {
		return Survey{}, fmt.Errorf("read what was counted: %w", err)
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
		if errors.Is(err, errOver) || postgres.IsTimeout(err) || postgres.IsLockTimeout(err) { // Somebody may have locked the events.
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
