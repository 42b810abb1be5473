package page

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/worker"
)

// haltKept is how long an answer about what keeps work from being done serves all pages.
const haltKept = 2 * time.Second

// halts keeps the last answer about what keeps requested work from being done.
type halts struct {
	mu   sync.Mutex
	at   time.Time
	last worker.Halt
}

// halt returns what keeps requested work from being done, as of the last seconds.
func (s *Site) halt(ctx context.Context) worker.Halt {
	s.halts.mu.Lock()
	defer s.halts.mu.Unlock()
	now := s.Clock.Now()
	if age := now.Sub(s.halts.at); age >= 0 && age < haltKept {
		return s.halts.last
	}
	halt, err := s.Jobs.Halt(ctx)
	if err != nil {
		s.Logger.WarnContext(ctx, "cannot read whether workers take jobs", slog.String("error", err.Error()))
		return worker.Halt{}
	}
	s.halts.at, s.halts.last = now, halt
	return halt
}

// forgetHalt makes the next page read again what keeps work from being done, after a change of it.
func (s *Site) forgetHalt() {
	s.halts.mu.Lock()
	defer s.halts.mu.Unlock()
	s.halts.at = time.Time{}
}
