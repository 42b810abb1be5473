package doctor

import (
	"context"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/pace"
)

// Times of shared examinations.
const (
	// Kept is how long an examination is returned to all callers.
	Kept = time.Minute
	// sharedRest is the shortest time between two examinations.
	sharedRest = 5 * time.Second
	// sharedLimit bounds an examination. Each of its statements has its own limit.
	sharedLimit = 30 * time.Second
	// sharedPatience is how long a caller waits for a running examination.
	sharedPatience = 5 * time.Second
)

// Shared shares examinations between callers: it runs one at a time, and returns its result for [Kept].
type Shared struct {
	// Look runs an examination.
	Look  func(ctx context.Context) Report
	Clock pace.Clock

	mu    sync.Mutex
	last  Examined
	under chan struct{} // closed when the running examination ends; nil if none is running
}

// Examined is a finished examination.
type Examined struct {
	Report

	At   time.Time // when it began; the zero time if there was none yet
	Took time.Duration
}

// Last returns the last examination without starting one. Its At is the zero time if there was none yet.
func (s *Shared) Last() Examined {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Get returns an examination that is younger than Kept and, if after is not zero, began after that instant. If there is none, Get
// starts one and waits a few seconds for it. It returns the last examination, and whether that one meets the conditions.
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
