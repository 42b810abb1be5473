// Package slice scans a date. It reads the events between two instants in slices of time, each with a short statement, and
// passes on their counts per entity and event type. It needs only an index on the events' instant.
//
// Postgres counts if that leaves far fewer rows than events. If nearly every event is the only one of its entity in the
// slice, counting in Postgres costs more than sending the events, so Daymill counts them.
//
// A span that cannot be divided by time, such as a date whose events all have the same instant, is called dense. It is read
// event by event through a cursor, in statements that are as short.
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
	"github.com/daymill/daymill/internal/rollup/signal"
	"github.com/daymill/daymill/internal/telemetry"
)

// ErrTooSlow is returned if reading the next thousand events or so of a dense span takes more than about thirteen seconds.
var ErrTooSlow = errors.New("no events could be read for thirteen seconds: " +
	"`daymill source check` says whether an index is missing; if none is, see what else keeps the database's disk busy")

const (
	// firstPart sets the first slice to this fraction of a date. Most dates are denser at noon than at midnight, and a slice
	// that turns out too dense is read again in smaller parts.
	firstPart = 64
	// shortest is the resolution of time in Postgres.
	shortest = time.Microsecond
	// mostTries is how many slices in a row, each a fraction of the one before, may be too dense before the last one's span
	// is read through a cursor. The first may be due to the end of a quiet night, or the disk's first read; a third, thirty
	// times smaller, is hardly due to either.
	mostTries = 3
	// mostNarrowed is how often a span that looks too dense is narrowed, each time to at most half, before the rest that
	// looks too dense is read through a cursor.
	mostNarrowed = 8
	// worthCounting is how many events there must be per count for Postgres to do the counting. Measured on 100,000 events
	// with a cached index: sending them took 19 to 25 ms, counting them 25 ms (few entities) to 50 ms (nearly as many
	// entities as events), and sending the counts up to as long as sending the events. Beyond that, counting in Postgres only
	// saves bytes.
	worthCounting = 4
	// rawSlices is the number of slices for which that decision stands before it is checked again.
	rawSlices = 32
)

// DefaultCounts is how many counts a slice should have if a Scanner does not say. It is small enough that the next slice, an
// hour later, rarely has twice as many, which is too dense.
const DefaultCounts = 50_000

// errTooMany means that a slice has more than twice the counts it should have, or more than mostBytes.
var errTooMany = errors.New("too many counts for a slice")

// Table receives counts; merge.Table implements it. Add runs on a goroutine of its own, and UpTo may be called at the same
// time.
type Table interface {
	// Add adds events of a type to an entity. It may not keep the entity's bytes.
	Add(id []byte, eventType string, events int64) error
	// UpTo is the entity above which Add ignores counts; nil if there is none.
	UpTo() *entity.ID
}

// Scanner reads slices.
type Scanner struct {
	Session *postgres.Session
	Type    entity.Type
	Pacer   *pace.Pacer
	// Listeners receive a signal for every slice of Run; may be empty.
	Listeners telemetry.Listeners
	Run       signal.Run

	// Counts is how many counts a slice should have; DefaultCounts if 0. A date with fewer than a fifth as many events is one
	// slice, however its events are spread.
	Counts int

	// Slices is how many slices were read, Fetches how many statements it took to read the dense ones.
	Slices, Fetches int

	// dense holds the spans that turned out too dense, in order, so that the next pass knows them.
	dense []date.Bounds
	// raw is the number of further slices in which events are sent one by one instead of counted in Postgres.
	raw    int
	counts *Counts
	feed   feed

	looks    *pace.Size // of them, only the limit counts
	timeouts int        // of looks, in a row
	fixed    time.Duration
}

// looksSize is the size of each look, which is always the same.
const looksSize = 4

// scan holds the arguments of Scan that every statement needs.
type scan struct {
	after *entity.ID
	table Table
	alive func() error
}

// mostPasses is how often Pass starts again after a lost cursor: the connection was cut, or somebody held a lock while the
// cursor was open.
const mostPasses = 30

// Pass is Scan into a new table, and into another new one if the scan cannot continue with the first.
func Pass[T Table](
	ctx context.Context, s *Scanner, bounds date.Bounds, after *entity.ID, fresh func() T, alive func(done float64) error,
) (T, error) {
	for pass := 1; ; pass++ {
		table := fresh()
		err := s.Scan(ctx, bounds, after, table, alive)
		again := postgres.IsCut(err) || postgres.IsLockTimeout(err) && !errors.Is(err, postgres.ErrLocked)
		if err == nil || !again || pass == mostPasses || ctx.Err() != nil {
			return table, err
		}
	}
}

// Scan reads the events between bounds, of entities above after if it is given, and adds them up in a table. Before each
// statement it calls alive with the part of the span that is done, from 0 to 1. The session may then be busy with a cursor.
//
// Scan returns ctx's cause soon after ctx is done, once the current statement has ended. After an error the table must not be
// used: it may contain part of a slice.
func (s *Scanner) Scan(
	ctx context.Context, bounds date.Bounds, after *entity.ID, table Table, alive func(done float64) error,
) (err error) {
	good := cmp.Or(s.Counts, DefaultCounts)
	few, most := max(1, good/5), 2*good
	if s.counts == nil {
		s.counts, s.feed.spare = newCounts(most), newCounts(most)
		s.looks = pace.NewSize(looksSize, 1, looksSize)
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
	narrowed, until, wide := 0, from, 0.0 // how often, of which span's end, and from which size
	for from.Before(bounds.To) {
		if err := scan.alive(); err != nil {
			return err
		}
		size.Expect(s.fixed)
		length := max(shortest, time.Duration(size.Value()).Truncate(shortest))
		slice, dense := s.next(from, min(length, bounds.To.Sub(from)))
		length = slice.To.Sub(from)
		if !dense && scan.after == nil && length > known+known/2 && length > shortest {
			events, err := s.size(ctx, slice, most)
			if err != nil {
				return err
			}
			if !from.Before(until) {
				narrowed = 0
			}
			switch {
			case events == 0:
				from = slice.To
				size.Set(4 * float64(length))
				continue
			case events > good+good/2 && narrowed < mostNarrowed:
				if narrowed++; narrowed == 1 {
					until, wide = slice.To, float64(length)
				}
				size.Set(float64(length) * min(0.5, float64(good)/2/float64(events)))
				continue
			case events >= most:
				dense = true
				s.remember(slice)
			}
		}

		var took time.Duration
		var err error
		if !dense {
			took, err = s.read(ctx, slice, size.Limit(), scan)
			if postgres.IsTimeout(err) || errors.Is(err, errTooMany) {
				again := false
				if postgres.IsTimeout(err) && scan.after == nil {
					// The slice does not have too many events: a smaller one may take as long.
					again = size.TimedOut(float64(length))
				} else if tries++; tries < mostTries && length > shortest {
					again = true
					size.Set(float64(length) / float64(int(2)<<tries))
				}
				s.tell(ctx, signal.Divided, slice, took)
				if err := s.Pacer.Pause(ctx, took); err != nil {
					return err
				}
				if again {
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
				s.tell(ctx, signal.Dense, slice, took)
				// What follows a single instant need not be dense.
				size.Set(max(wide, float64(length)*float64(pace.Target)/float64(max(took, pace.Target))))
				wide = 0
			}
		case err == nil:
			tries, known = 0, length
			s.tell(ctx, signal.Read, slice, took)
			size.Took(float64(length), took)
			s.fixed = max(size.Fixed(), s.looks.Fixed())
			// If statements are quick, the number of counts limits a slice: keep the next one below it, too.
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

// size returns how many events there are between two instants, or most if there are more. It takes a few milliseconds, while
// reading a slice that turns out too dense takes a hundred. A timeout takes that long as well, so it is not an error but
// means too many events. After two timeouts in a row the number of events is not the cause, and the limit grows until there
// is an answer.
func (s *Scanner) size(ctx context.Context, slice date.Bounds, most int) (events int, err error) {
	for {
		took, err := s.Pacer.Do(s.Session, func() error {
			return s.Session.Read(ctx, s.looks.Limit(), func(ctx context.Context, on postgres.DBTX) error {
				n, err := db.New(on).EventSliceSize(ctx, db.EventSliceSizeParams{
					FromInstant: slice.From, ToInstant: slice.To, AtMost: int32(most), //nolint:gosec // A few hundred thousand.
				})
				events = int(n)
				return err
			})
		})
		again := false
		switch {
		case postgres.IsTimeout(err):
			events = most
			s.timeouts++
			again = s.looks.TimedOut(looksSize) && s.timeouts > 2
		case err != nil:
			return 0, fmt.Errorf("read events from %s: %w", slice.From.Format(time.RFC3339), err)
		default:
			s.timeouts = 0
			s.looks.Took(looksSize, took)
			s.fixed = max(s.fixed, s.looks.Fixed())
		}
		if err := s.Pacer.Pause(ctx, took); err != nil || !again {
			return events, err
		}
	}
}

// add passes on the counts of a statement, to be added up while the next statement runs.
func (s *Scanner) add() (err error) {
	s.counts, err = s.feed.add(s.counts)
	return err
}

func (s *Scanner) tell(ctx context.Context, outcome string, slice date.Bounds, took time.Duration) {
	one := signal.Slice{Run: s.Run, From: slice.From, To: slice.To, Outcome: outcome, Took: took}
	if outcome == signal.Read {
		one.Counts = s.counts.Len()
	}
	telemetry.Tell(ctx, s.Listeners, one)
}

// next returns the slice of the given length from an instant on. It ends before a dense span, and is a dense span as a whole
// if one begins at the instant.
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

// read reads a slice with one statement. It adds nothing before the statement has succeeded, so that a slice that was too
// dense leaves no counts behind.
func (s *Scanner) read(ctx context.Context, slice date.Bounds, limit time.Duration, scan scan) (time.Duration, error) {
	take := func(id, eventType []byte, events int64) error { return s.counts.add(s.Type, id, eventType, events) }
	took, err := s.Pacer.Do(s.Session, func() error {
		return s.Session.Read(ctx, limit, func(ctx context.Context, on postgres.DBTX) error {
			s.counts.reset()
			arg := db.EventSliceParams{
				FromInstant: slice.From,
				ToInstant:   slice.To,
				AfterEntity: s.Type.FormatPointer(scan.after),
				UpToEntity:  s.Type.FormatPointer(scan.table.UpTo()),
			}
			if s.raw > 0 {
				return db.New(on).EventSliceRawEach(ctx, db.EventSliceRawParams(arg), take)
			}
			return db.New(on).EventSliceEach(ctx, arg, take)
		})
	})
	if err != nil {
		return took, fmt.Errorf("read events from %s: %w", slice.From.Format(time.RFC3339), err)
	}
	if s.raw > 0 {
		s.raw--
	} else if n := s.counts.Len(); n > s.counts.most/20 && int64(n)*worthCounting > s.counts.Events() {
		s.raw = rawSlices // A slice with few counts proves little, and costs little either way.
	}
	return took, nil
}
