// Package slice scans a date: it reads the events between two instants in slices of time, each a short statement that
// counts per entity inside Postgres, and hands the counts on. It needs no more than an index on the events' instant.
//
// A span that time does not divide, such as a date whose events all have one instant, is dense: it is read event by event
// through a cursor, in statements that are as short.
package slice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/telemetry"
)

// Count is how many events of a type an entity has in a slice.
type Count = db.EventSliceRow

// ErrTooSlow is returned where a dense span's next thousand events or so do not come within some thirteen seconds.
var ErrTooSlow = errors.New("no events could be read for thirteen seconds: " +
	"`daymill source check` says whether an index is missing; if none is, see what else keeps the database's disk busy")

const (
	// firstPart is the first slice's part of a date. Dates are mostly denser at noon than at midnight, and a slice
	// that turns out too dense is read again in smaller parts.
	firstPart = 64
	// shortest is Postgres's resolution of time.
	shortest = time.Microsecond
	// mostTries is how many slices in a row, each a fraction of the one before, may be too dense until the span of the last
	// is read through a cursor. The first comes of a quiet night's end, or of a disk's first touch; a third, thirty times
	// smaller, hardly of either.
	mostTries = 3
	// mostCounts bounds the memory of a slice, to some fifteen megabytes: one that has more is too dense.
	mostCounts = 200_000
	// patience is how long beyond its limit a statement is waited for: Postgres, or the network, is gone.
	patience = 10 * time.Second
)

// errTooMany says that a slice has more than mostCounts.
var errTooMany = errors.New("too many counts for a slice")

// Scanner reads slices.
type Scanner struct {
	Session *postgres.Session
	Type    entity.Type
	Pacer   *pace.Pacer
	// Listeners are told of every slice of Run; there may be none.
	Listeners telemetry.Listeners
	Run       telemetry.Run

	// Slices is how many were read, Fetches how many statements it took to read the dense ones among them.
	Slices, Fetches int

	// dense is the spans that turned out too dense, in order: the next pass need not find out again.
	dense  []date.Bounds
	counts []Count // reused from statement to statement
}

// scan is the part of Scan's arguments that every statement needs.
type scan struct {
	after *entity.ID
	upTo  func() *entity.ID
	add   func([]Count) error
	alive func() error
}

// Scan reads the events between bounds whose entities are above after, where that is given, and not above what upTo
// returns, where that is not nil; upTo is asked before each slice. Counts go to add, at most 200,000 at a time, in a slice
// that is only valid until add returns. Before each statement, alive is called with the part of the span that is done,
// from 0 to 1; Session may then be busy with a cursor.
//
// Scan returns ctx's cause soon after ctx is done, once the statement under way has ended. After an error, what went to
// add is no use: it may be part of a slice.
func (s *Scanner) Scan(
	ctx context.Context, bounds date.Bounds, after *entity.ID, upTo func() *entity.ID,
	add func([]Count) error, alive func(done float64) error,
) error {
	span := bounds.To.Sub(bounds.From)
	size := pace.NewSize(max(1, float64(span)/firstPart), float64(shortest), float64(span))
	tries := 0
	for from := bounds.From; from.Before(bounds.To); {
		scan := scan{after: after, upTo: upTo, add: add, alive: func() error {
			return alive(float64(from.Sub(bounds.From)) / float64(span))
		}}
		if err := scan.alive(); err != nil {
			return err
		}
		length := max(shortest, time.Duration(size.Value()).Truncate(shortest))
		slice, dense := s.next(from, min(length, bounds.To.Sub(from)))
		length = slice.To.Sub(from)

		var took time.Duration
		var err error
		if !dense {
			took, err = s.read(ctx, slice, scan)
			if postgres.IsTimeout(err) || errors.Is(err, errTooMany) {
				s.tell(ctx, telemetry.Divided, slice, took)
				if err := s.Pacer.Pause(ctx, took); err != nil {
					return err
				}
				if tries++; tries < mostTries && length > shortest {
					size.Set(float64(length) / float64(int(2)<<tries))
					continue
				}
				dense = true
				s.remember(slice)
			}
		}
		switch {
		case dense:
			tries = 0
			if took, err = s.readDense(ctx, slice, scan); err == nil {
				s.tell(ctx, telemetry.Dense, slice, took)
				size.Set(float64(length) * float64(pace.Target) / float64(max(took, pace.Target)))
			}
		case err == nil:
			tries = 0
			s.tell(ctx, telemetry.Read, slice, took)
			size.Took(float64(length), took)
			// Where statements are quick, the number of counts is what bounds a slice: the next one stays below it, too.
			size.Set(min(size.Value(), float64(length)*mostCounts*3/4/float64(max(1, len(s.counts)))))
			err = s.Pacer.Pause(ctx, took)
		}
		if err != nil {
			return err
		}
		s.Slices++
		from = slice.To
	}
	return nil
}

func (s *Scanner) tell(ctx context.Context, outcome string, slice date.Bounds, took time.Duration) {
	event := telemetry.Slice{Run: s.Run, From: slice.From, To: slice.To, Outcome: outcome, Took: took}
	if outcome == telemetry.Read {
		event.Counts = len(s.counts)
	}
	telemetry.Tell(ctx, s.Listeners, event)
}

// next is the slice of the given length from an instant on, less where a dense one begins, and the whole of a dense one
// that begins there.
func (s *Scanner) next(from time.Time, length time.Duration) (slice date.Bounds, dense bool) {
	slice = date.Bounds{From: from, To: from.Add(length)}
	i, dense := slices.BinarySearchFunc(s.dense, from, func(d date.Bounds, at time.Time) int { return d.From.Compare(at) })
	switch {
	case dense:
		slice = s.dense[i]
	case i < len(s.dense) && s.dense[i].From.Before(slice.To):
		slice.To = s.dense[i].From
	}
	return slice, dense
}

func (s *Scanner) remember(dense date.Bounds) {
	s.dense = append(s.dense, dense)
	slices.SortFunc(s.dense, func(a, b date.Bounds) int { return a.From.Compare(b.From) })
}

// read reads a slice by one statement. It is not cut short when ctx is done: it is about to end by itself, and a
// connection whose statement is cancelled has to be made anew. Nothing goes to add before the statement has ended well,
// so that a slice that was too dense leaves no trace.
func (s *Scanner) read(ctx context.Context, slice date.Bounds, scan scan) (time.Duration, error) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), pace.Limit+patience)
	defer cancel()
	s.counts = s.counts[:0]
	took, err := s.Pacer.Do(func() error {
		return s.Session.Read(within, pace.Limit, func(on postgres.DBTX) error {
			return db.New(on).EventSliceEach(within, db.EventSliceParams{
				FromInstant: slice.From,
				ToInstant:   slice.To,
				AfterEntity: s.Type.FormatPointer(scan.after),
				UpToEntity:  s.Type.FormatPointer(scan.upTo()),
			}, func(count Count) error {
				if len(s.counts) == mostCounts {
					return errTooMany
				}
				s.counts = append(s.counts, count)
				return nil
			})
		})
	})
	if err != nil {
		return took, fmt.Errorf("read events from %s: %w", slice.From.Format(time.RFC3339), err)
	}
	return took, scan.add(s.counts)
}
