// Package slice scans a date: it reads the events between two instants in slices of time, each a short statement, and hands
// their counts per entity and event type on. It needs no more than an index on the events' instant.
//
// Postgres counts where that leaves far fewer rows than there are events. Where nearly every event is an entity's only one
// in its slice, counting there costs more than sending the events does, and they are counted here.
//
// A span that time does not divide, such as a date whose events all have one instant, is dense: it is read event by event
// through a cursor, in statements that are as short.
package slice

import (
	"cmp"
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
	// worthCounting is how many events there are to have for every count, for Postgres to do the counting. Measured on 100,000
	// events of an index that was cached: sending them took 19 to 25 ms, counting them 25 (few entities) to 50 ms (nearly as
	// many entities as events), sending the counts up to as long as the events. What is left to gain are bytes.
	worthCounting = 4
	// rawSlices is for how many slices that is taken for granted.
	rawSlices = 32
	// patience is how long beyond its limit a statement is waited for: Postgres, or the network, is gone.
	patience = 10 * time.Second
)

// DefaultCounts is how many counts a slice should have where a Scanner does not say: few enough for the next slice, an hour
// later, not to have twice as many, which is too dense.
const DefaultCounts = 50_000

// errTooMany says that a slice has more than twice the counts it should have, or mostBytes.
var errTooMany = errors.New("too many counts for a slice")

// Table is where counts go; a merge.Table is one. Add is called on a goroutine of its own, UpTo meanwhile, too.
type Table interface {
	// Add adds events of a type to an entity, whose bytes it may not keep.
	Add(id []byte, eventType string, events int64) error
	// UpTo is the entity above which Add ignores counts; nil where there is none.
	UpTo() *entity.ID
}

// Scanner reads slices.
type Scanner struct {
	Session *postgres.Session
	Type    entity.Type
	Pacer   *pace.Pacer
	// Listeners are told of every slice of Run; there may be none.
	Listeners telemetry.Listeners
	Run       telemetry.Run

	// Counts is how many counts a slice should have; DefaultCounts where 0. A date that has fewer than a fifth as many events
	// is one slice, however they lie.
	Counts int

	// Slices is how many were read, Fetches how many statements it took to read the dense ones among them.
	Slices, Fetches int

	// dense is the spans that turned out too dense, in order: the next pass need not find out again.
	dense []date.Bounds
	// raw is for how many slices to come events are read one by one.
	raw    int
	counts *Counts
	feed   feed
}

// scan is the part of Scan's arguments that every statement needs.
type scan struct {
	after *entity.ID
	table Table
	alive func() error
}

// Scan reads the events between bounds whose entities are above after, where that is given, and adds them up in a table.
// Before each statement, alive is called with the part of the span that is done, from 0 to 1; Session may then be busy with
// a cursor.
//
// Scan returns ctx's cause soon after ctx is done, once the statement under way has ended. After an error, the table is no
// use: it may have part of a slice.
func (s *Scanner) Scan(
	ctx context.Context, bounds date.Bounds, after *entity.ID, table Table, alive func(done float64) error,
) (err error) {
	good := cmp.Or(s.Counts, DefaultCounts)
	few, most := max(1, good/5), 2*good
	if s.counts == nil {
		s.counts, s.feed.spare = newCounts(most), newCounts(most)
	}
	s.feed.table = table
	defer func() { err = cmp.Or(err, s.feed.wait()) }()

	span := bounds.To.Sub(bounds.From)
	from, known := bounds.From, time.Duration(0)
	scan := scan{after: after, table: table, alive: func() error {
		return alive(float64(from.Sub(bounds.From)) / float64(span))
	}}
	size := pace.NewSize(max(1, float64(span)/firstPart), float64(shortest), float64(span))
	if err := scan.alive(); err != nil {
		return err
	}
	switch events, err := s.size(ctx, bounds, few+1); {
	case err != nil:
		return err
	case events == 0:
		return nil
	case events <= few:
		size.Set(float64(span))
		known = span
	}
	tries := 0
	for from.Before(bounds.To) {
		if err := scan.alive(); err != nil {
			return err
		}
		length := max(shortest, time.Duration(size.Value()).Truncate(shortest))
		slice, dense := s.next(from, min(length, bounds.To.Sub(from)))
		length = slice.To.Sub(from)
		if !dense && scan.after == nil && length > known+known/2 && length > shortest {
			events, err := s.size(ctx, slice, most)
			switch {
			case err != nil:
				return err
			case events == 0:
				from = slice.To
				size.Took(float64(length), 0)
				continue
			case events > good:
				size.Set(float64(length) * float64(good) / float64(events))
				continue
			}
		}

		var took time.Duration
		var err error
		if !dense {
			took, err = s.read(ctx, slice, scan)
			if postgres.IsTimeout(err) || errors.Is(err, errTooMany) {
				s.tell(ctx, telemetry.Divided, slice, took)
				known = 0
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
			tries, known = 0, length
			s.tell(ctx, telemetry.Read, slice, took)
			size.Took(float64(length), took)
			// Where statements are quick, the number of counts is what bounds a slice: the next one stays below it, too.
			if counts := s.counts.Len(); counts > 0 {
				size.Set(min(size.Value(), float64(length)*float64(good)/float64(counts)))
			}
			if err = s.add(); err == nil {
				err = s.Pacer.Pause(ctx, took)
			}
		}
		if err != nil {
			return err
		}
		s.Slices++
		from = slice.To
	}
	return nil
}

// size is how many events there are between two instants, or most where there are more. It takes a few milliseconds, and
// a slice that turns out too dense only after it was read takes a hundred; so does one that a timeout ends, which is
// therefore no error: it says that there are too many.
func (s *Scanner) size(ctx context.Context, slice date.Bounds, most int) (events int, err error) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), pace.Limit+patience)
	defer cancel()
	took, err := s.Pacer.Do(func() error {
		return s.Session.Read(within, pace.Limit, func(on postgres.DBTX) error {
			n, err := db.New(on).EventSliceSize(within, db.EventSliceSizeParams{
				FromInstant: slice.From, ToInstant: slice.To, AtMost: int32(most), //nolint:gosec // A few hundred thousand.
			})
			events = int(n)
			return err
		})
	})
	switch {
	case postgres.IsTimeout(err):
		events = most
	case err != nil:
		return 0, fmt.Errorf("read events from %s: %w", slice.From.Format(time.RFC3339), err)
	}
	return events, s.Pacer.Pause(ctx, took)
}

// add hands the counts of a statement on, to be added up while the next one is under way.
func (s *Scanner) add() (err error) {
	s.counts, err = s.feed.add(s.counts)
	return err
}

func (s *Scanner) tell(ctx context.Context, outcome string, slice date.Bounds, took time.Duration) {
	event := telemetry.Slice{Run: s.Run, From: slice.From, To: slice.To, Outcome: outcome, Took: took}
	if outcome == telemetry.Read {
		event.Counts = s.counts.Len()
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
// connection whose statement is cancelled has to be made anew. Nothing is added up before the statement has ended well,
// so that a slice that was too dense leaves no trace.
func (s *Scanner) read(ctx context.Context, slice date.Bounds, scan scan) (time.Duration, error) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), pace.Limit+patience)
	defer cancel()
	s.counts.reset()
	take := func(id, eventType []byte, events int64) error { return s.counts.add(s.Type, id, eventType, events) }
	took, err := s.Pacer.Do(func() error {
		return s.Session.Read(within, pace.Limit, func(on postgres.DBTX) error {
			arg := db.EventSliceParams{
				FromInstant: slice.From,
				ToInstant:   slice.To,
				AfterEntity: s.Type.FormatPointer(scan.after),
				UpToEntity:  s.Type.FormatPointer(scan.table.UpTo()),
			}
			if s.raw > 0 {
				return db.New(on).EventSliceRawEach(within, db.EventSliceRawParams(arg), take)
			}
			return db.New(on).EventSliceEach(within, arg, take)
		})
	})
	if err != nil {
		return took, fmt.Errorf("read events from %s: %w", slice.From.Format(time.RFC3339), err)
	}
	if s.raw > 0 {
		s.raw--
	} else if n := s.counts.Len(); n > s.counts.most/20 && int64(n)*worthCounting > s.counts.Events() {
		s.raw = rawSlices // A slice with few counts says little, and costs little either way.
	}
	return took, nil
}
