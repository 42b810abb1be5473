package page

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Kept caches the last value that was read, so that many viewers of a page share one read.
type Kept[T any] struct {
	mu   sync.Mutex
	at   time.Time
	last T
}

// Get returns the cached value if it is at most age old, or else reads it again. If that fails, Get logs the error and returns the cached value.
func (k *Kept[T]) Get(ctx context.Context, site *Site, age time.Duration, read func(ctx context.Context) (T, error)) T {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := site.Clock.Now()
	if old := now.Sub(k.at); !k.at.IsZero() && old >= 0 && old < age {
		return k.last
	}
	value, err := read(ctx)
	if err != nil {
		if ctx.Err() == nil {
			site.Outage.Report(ctx, now, err)
			site.Logger.WarnContext(ctx, "a part of a page cannot be read", slog.String("error", err.Error()))
		}
		return k.last
	}
	k.at, k.last = now, value
	return value
}

// Forget makes the next Get read again.
func (k *Kept[T]) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = time.Time{}
}
