// Package slice scans a date: it reads the events between two instants in slices of time, each a short statement that
// counts per entity inside Postgres, and hands the counts on. It needs no more than an index on the events' instant.
package slice

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/entity"
	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

// Count is how many events of a type an entity has in a slice.
type Count = db.EventSliceRow

// ErrTooSlow is returned where even the shortest slice does not end within some thirteen seconds.
var ErrTooSlow = errors.New("the events of one instant cannot be read within thirteen seconds: see `daymill source check`")

const (
	// firstPart is the first slice's part of a date. Dates are mostly denser at noon than at midnight, and a slice
	// that turns out too dense is read again in halves.
	firstPart = 64
	// shortest is Postgres's resolution of time.
	shortest = time.Microsecond
	// patience is how long beyond its limit a statement is waited for: Postgres, or the network, is gone.
	patience = 10 * time.Second
)

// Scanner reads slices.
type Scanner struct {
	Session *postgres.Session
	Type    entity.Type
	Pacer   *pace.Pacer

	// Slices is how many were read.
	Slices int
}

// Scan reads the events between bounds whose entities are above after, where that is given, and not above what upTo
// returns, where that is not nil; upTo is asked before each slice. Each slice's counts go to add. Before each slice,
// alive is called with the part of the span that is done, from 0 to 1.
//
// Scan returns ctx's cause soon after ctx is done, once the statement under way has ended.
func (s *Scanner) Scan(
	ctx context.Context, bounds date.Bounds, after *entity.ID, upTo func() *entity.ID,
	add func([]Count) error, alive func(done float64) error,
) error {
	span := bounds.To.Sub(bounds.From)
	size := pace.NewSize(max(1, float64(span)/firstPart), float64(shortest), float64(span))
	for from := bounds.From; from.Before(bounds.To); {
		if err := alive(float64(from.Sub(bounds.From)) / float64(span)); err != nil {
			return err
		}
		length := time.Duration(size.Value()).Truncate(shortest)
		to := from.Add(max(shortest, length))
		if to.After(bounds.To) {
			to = bounds.To
		}
		counts, took, err := s.read(ctx, from, to, after, upTo(), size.Limit())
		if postgres.IsTimeout(err) {
			if !size.TimedOut(float64(to.Sub(from))) {
				return ErrTooSlow
			}
			if err := s.Pacer.Pause(ctx, took); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("read events from %s: %w", from.Format(time.RFC3339), err)
		}
		s.Slices++
		size.Took(float64(to.Sub(from)), took)
		if err := add(counts); err != nil {
			return err
		}
		if err := s.Pacer.Pause(ctx, took); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// read sends one statement. It is not cut short when ctx is done: it is about to end by itself, and a connection whose
// statement is cancelled has to be made anew.
func (s *Scanner) read(
	ctx context.Context, from, to time.Time, after, upTo *entity.ID, limit time.Duration,
) (counts []Count, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit+patience)
	defer cancel()
	took, err = s.Pacer.Do(func() error {
		return s.Session.Read(ctx, limit, func(on postgres.DBTX) error {
			counts, err = db.New(on).EventSlice(ctx, db.EventSliceParams{
				FromInstant: from,
				ToInstant:   to,
				AfterEntity: s.Type.FormatPointer(after),
				UpToEntity:  s.Type.FormatPointer(upTo),
			})
			return err
		})
	})
	return counts, took, err
}
