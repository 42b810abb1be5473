package ui

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/rollup/source"
)

// faultsKept is how long a look at what is installed is good for: it reads the catalog, and the overview refreshes itself.
const faultsKept = 45 * time.Second

// faults looks whether what Daymill installed is as it should be.
type faults struct {
	Config

	mu    sync.Mutex
	at    time.Time
	found []string
}

// of returns sentences about what is not as it should be, not much older than faultsKept.
func (f *faults) of(ctx context.Context) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Clock.Now()
	if age := now.Sub(f.at); !f.at.IsZero() && age >= 0 && age < faultsKept {
		return f.found
	}
	found, err := source.Faults(ctx, f.DB, f.Installation)
	if err != nil {
		if ctx.Err() == nil {
			f.Logger.WarnContext(ctx, "what is installed could not be looked at", slog.String("error", err.Error()))
		}
		return f.found
	}
	f.at, f.found = now, found
	return found
}
