package overview

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/rollup/source"
	"github.com/daymill/daymill/ui/page"
)

// faultsKept is how long a check of the installed objects stays valid. The check reads the catalog, and the overview refreshes itself often.
const faultsKept = 45 * time.Second

// faults checks the objects that Daymill installed.
type faults struct {
	mu    sync.Mutex
	at    time.Time
	found []string
}

// of returns a sentence for each fault. The result is at most about faultsKept old.
func (f *faults) of(ctx context.Context, site *page.Site) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := site.Clock.Now()
	if age := now.Sub(f.at); !f.at.IsZero() && age >= 0 && age < faultsKept {
		return f.found
	}
	found, err := source.Faults(ctx, site.DB, site.Installation)
	if err != nil {
		if ctx.Err() == nil {
			site.Logger.WarnContext(ctx, "cannot check what is installed", slog.String("error", err.Error()))
		}
		return f.found
	}
	f.at, f.found = now, found
	return found
}
