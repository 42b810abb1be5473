package doctor

import (
	"context"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/pace"
)

// How examinations are shared.
const (
	// Kept is how long an examination is good for whoever asks.
	Kept = time.Minute
	// sharedRest is how old an examination is at least when somebody may have another.
	sharedRest = 5 * time.Second
	// sharedLimit ends an examination, whatever the network does; each of its statements has a limit of its own.
	sharedLimit = 30 * time.Second
	// sharedPatience is how long whoever asks waits for an examination under way.
	sharedPatience = 5 * time.Second
)

// Shared lets many ask and examines once: one examination at a time, good for [Kept], whoever began it.
type Shared struct {
	// Look examines.
	Look  func(ctx context.Context) Report
	Clock pace.Clock

	mu    sync.Mutex
	last  Examined
	under chan struct{} // closed once the examination under way is over; nil while none is
}

// Examined is an examination that is over.
type Examined struct {
	Report

	At   time.Time // when it began; the zero time where there was none yet
	Took time.Duration
}

// Last returns the last examination, and begins none; its At is the zero time where there was none yet.
func (s *Shared) Last() Examined {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Get returns an examination that is younger than Kept and, where after is not zero, began after that instant. Where there
// is none it examines, and waits some seconds for that; what it returns is then the last one, and whether that is still
// what was asked for.
func (s *Shared) Get(ctx context.Context, after time.Time) (Examined, bool) {
	s.mu.Lock()
	if s.good(after) {
		defer s.mu.Unlock()
		return s.last, true
	}
	if s.under == nil {
		s.under = make(chan struct{})
		go s.examine(context.WithoutCancel(ctx))
	}
	under := s.under
	s.mu.Unlock()

	patience := time.NewTimer(sharedPatience)
	defer patience.Stop()
	done := false
	select {
	case <-ctx.Done():
	case <-patience.C:
	case <-under:
		done = true
	}
	return s.Last(), done
}

func (s *Shared) good(after time.Time) bool {
	age := s.Clock.Now().Sub(s.last.At)
	switch {
	case s.last.At.IsZero() || age < 0 || age >= Kept:
		return false
	default:
		return s.last.At.After(after) || age < sharedRest
	}
}

func (s *Shared) examine(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sharedLimit)
	defer cancel()
	began := s.Clock.Now()
	report := s.Look(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = Examined{Report: report, At: began, Took: s.Clock.Now().Sub(began)}
	close(s.under)
	s.under = nil
}
