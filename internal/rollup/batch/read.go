package batch

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/rollup/merge"
)

// walk compares the stored rows above after, and up to upTo if it is given, with the counted rows. It passes the rows that differ
// to a function in parts, so that the changes of a large range do not fill the memory.
func (r *Reader) walk(
	ctx context.Context, counted merge.Rows, after, upTo *entity.ID, take func(changes []change) error,
) error {
	r.size()
	for more := true; more; {
		if err := r.Alive(); err != nil {
			return err
		}
		stored, end, err := r.read(ctx, after, upTo)
		if err != nil {
			return err
		}
		// The stored rows have been read up to end, or up to the bound of the pass.
		part := counted
		if more = end != nil; more {
			n := counted.Through(*end)
			part, counted = counted.Slice(0, n), counted.Slice(n, counted.Len())
			after = end
		}
		if err := r.stretch(part, stored, take); err != nil {
			return err
		}
	}
	return nil
}

// size sets the size of the first read.
func (r *Reader) size() {
	if r.reads == nil {
		r.reads = pace.NewSize(firstRows, 1, mostRows)
	}
}

func (r *Reader) stretch(counted merge.Rows, stored []db.MetricRangeRow, take func(changes []change) error) error {
	for {
		size, known := counted.Len(), stored
		if size > mostRows {
			size = mostRows
			last := counted.ID(size - 1)
			n := sort.Search(len(stored), func(i int) bool { return stored[i].EntityID > last })
			known = stored[:n]
		}
		rows := counted.Slice(0, size).List()
		counted, stored = counted.Slice(size, counted.Len()), stored[len(known):]
		changes, totals := diff(rows, known, r.Totals)
		if err := take(changes); err != nil {
			return err
		}
		r.Totals = totals
		if r.Counted != nil {
			r.Counted(rows)
		}
		if counted.Len() == 0 {
			return nil
		}
	}
}

// read returns some stored rows above after, and the last entity of the range that it has read; nil if there are no more rows.
func (r *Reader) read(ctx context.Context, after, upTo *entity.ID) ([]db.MetricRangeRow, *entity.ID, error) {
	for {
		size := int32(r.reads.Value())
		rows, took, err := r.readRange(ctx, after, size, r.reads.Limit())
		if postgres.IsTimeout(err) {
			if !r.reads.TimedOut(float64(size)) {
				return nil, nil, ErrTooSlow
			}
		} else if err != nil {
			return nil, nil, fmt.Errorf("read metrics: %w", err)
		}
		if pauseErr := r.Pacer.Pause(ctx, took); pauseErr != nil {
			return nil, nil, pauseErr
		}
		if err != nil {
			continue
		}
		if err := ascend(after, rows); err != nil {
			return nil, nil, err
		}
		var end *entity.ID
		if len(rows) == int(size) {
			r.reads.Took(float64(size), took)
			last := rows[len(rows)-1].EntityID
			end = &last
		}
		if upTo != nil {
			n := sort.Search(len(rows), func(i int) bool { return rows[i].EntityID > *upTo })
			if n < len(rows) {
				rows, end = rows[:n], nil
			}
		}
		return rows, end, nil
	}
}

func (r *Reader) readRange(
	ctx context.Context, after *entity.ID, size int32, limit time.Duration,
) (rows []db.MetricRangeRow, took time.Duration, err error) {
	took, err = r.Pacer.Do(r.Session, func() error {
		return r.Session.Walk(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
			rows, err = db.New(on).MetricRange(ctx, db.MetricRangeParams{
				MetricDate: r.Date, AfterEntity: r.Type.FormatPointer(after), MaxRows: size,
			})
			return err
		})
	})
	return rows, took, err
}
