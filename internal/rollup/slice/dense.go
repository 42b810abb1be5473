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
	// firstFetch and mostFetch are how many events a fetch reads. The most takes less than the tenth of a second that it
	// might, since nothing but its size keeps a fetch short where the machine is suddenly busy.
	firstFetch = 1_000
	mostFetch  = 20_000
	// fetchLimit is the statement_timeout of a fetch. Fetches are sized to take a tenth of a second, but one that runs into
	// its limit ends the transaction and the cursor with it, after others have gone to add: the pass would have to begin
	// again. So the limit is there for the disk that stalls and for the plan that sorts before its first row, not for a fetch
	// that takes somewhat long; the job's retry begins again with a pass that fails. The limit is shorter than the silence
	// after which a run is taken for dead.
	fetchLimit = 13 * time.Second
	// payment is how much work is paid for by one pause.
	payment = time.Second
)

// readDense reads a span through a cursor, and returns how long its statements took, which is paid for by pauses after the
// transaction's end: none is open during a pause.
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
