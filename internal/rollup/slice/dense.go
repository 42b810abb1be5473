package slice

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// firstFetch and mostFetch are how many events a fetch reads, at first and at most. mostFetch events take less than the
	// target of a tenth of a second, because only its size keeps a fetch short if the machine suddenly becomes busy.
	firstFetch = 1_000
	mostFetch  = 20_000
	// fetchLimit is the statement_timeout of a fetch. Fetches are sized to take a tenth of a second. A fetch that reaches its
	// limit ends the transaction and the cursor, and because earlier events were already added, the whole pass fails and the
	// job's retry starts again. So the limit is meant for a stalled disk, or a plan that sorts before its first row, and not
	// for a slow fetch. It is shorter than the silence after which a run counts as dead.
	fetchLimit = 13 * time.Second
	// payment is the amount of work after which one pause makes up for it.
	payment = time.Second
)

// readDense reads a span through a cursor, and returns how long its statements took. The pauses for them follow after the
// transaction's end: no transaction is open during a pause.
func (s *Scanner) readDense(ctx context.Context, slice date.Bounds, scan scan) (time.Duration, error) {
	worked, err := s.fetchAll(ctx, slice, scan)
	switch {
	case postgres.IsTimeout(err):
		return worked, ErrTooSlow
	case err != nil:
		return worked, err
	}
	for owed := worked; owed > 0; owed -= payment {
		if err := scan.alive(); err != nil {
			return worked, err
		}
		if err := s.Pacer.Pause(ctx, min(owed, payment)); err != nil {
			return worked, err
		}
	}
	return worked, nil
}

func (s *Scanner) fetchAll(ctx context.Context, slice date.Bounds, scan scan) (worked time.Duration, err error) {
	do := func(statement func() error) (time.Duration, error) {
		took, err := s.Pacer.Do(s.Session, statement)
		worked += took
		if err != nil {
			err = fmt.Errorf("read events from %s: %w", slice.From.Format(time.RFC3339), err)
		}
		return took, err
	}
	var cursor *postgres.Cursor
	if _, err := do(func() (err error) {
		sql, args := db.EventReadParams{
			AfterEntity: s.Type.FormatPointer(scan.after),
			UpToEntity:  s.Type.FormatPointer(scan.table.UpTo()),
			FromInstant: slice.From,
			ToInstant:   slice.To,
		}.SQL()
		cursor, err = s.Session.Declare(ctx, fetchLimit, sql, args...)
		return err
	}); err != nil {
		return worked, err
	}
	defer cursor.Close(ctx)
	size := pace.NewSize(float64(min(firstFetch, s.counts.most)), 1, float64(min(mostFetch, s.counts.most)))
	for {
		if err := scan.alive(); err != nil {
			return worked, err
		}
		most, got := int(size.Value()), 0
		s.counts.reset()
		took, err := do(func() error {
			return cursor.Fetch(ctx, most, func(rows pgx.Rows) (err error) {
				got, err = db.EventReadEach(rows, func(id, eventType []byte, events int64) error {
					return s.counts.add(s.Type, id, eventType, events)
				})
				return err
			})
		})
		if err != nil {
			return worked, err
		}
		s.Fetches++
		size.Took(float64(most), took)
		if err := s.add(); err != nil {
			return worked, err
		}
		if got < most {
			return worked, nil
		}
	}
}
