package slice

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

// ErrNoShortcut is returned by Scope if the events of some entities cannot be read in a short statement. There may be no index that
// begins with the entity, or the entities may have events of many years.
var ErrNoShortcut = errors.New("the events of some entities cannot be read quickly")

const (
	// firstScope and mostScope are the number of entities whose events one statement reads, at first and at most.
	firstScope, mostScope = 100, 1_000
)

// Scope adds up the events of some entities between bounds. With an index that begins with the entity, it reads no other events. It
// calls alive before each statement. After an error the table must not be used.
func (s *Scanner) Scope(
	ctx context.Context, bounds date.Bounds, entities []string, table Table, alive func(done float64) error,
) error {
	size := pace.NewSize(firstScope, 1, mostScope)
	counts := newCounts(2 * DefaultCounts)
	for done := 0; done < len(entities); {
		if err := alive(float64(done) / float64(len(entities))); err != nil {
			return err
		}
		n := min(int(size.Value()), len(entities)-done)
		took, err := s.readScope(ctx, bounds, entities[done:done+n], size.Limit(), counts)
		switch {
		case postgres.IsTimeout(err), errors.Is(err, errTooMany):
			return ErrNoShortcut
		case err != nil:
			return fmt.Errorf("read events of %d entities: %w", n, err)
		}
		size.Took(float64(n), took)
		s.Slices++
		if err := counts.Each(table.Add); err != nil {
			return err
		}
		done += n
		if done < len(entities) {
			if err := s.Pacer.Pause(ctx, took); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Scanner) readScope(
	ctx context.Context, bounds date.Bounds, entities []string, limit time.Duration, counts *Counts,
) (time.Duration, error) {
	return s.Pacer.Do(s.Session, func() error {
		return s.Session.Look(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
			counts.reset()
			return db.New(on).EventScopeEach(ctx, db.EventScopeParams{
				Entities: entities, FromInstant: bounds.From, ToInstant: bounds.To,
			}, func(id, eventType []byte, events int64) error { return counts.add(s.Type, id, eventType, events) })
		})
	})
}
