package page

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Kept keeps what was read last, so that pages that many people watch read it once for all of them.
type Kept[T any] struct {
	mu   sync.Mutex
	at   time.Time
	last T
}

// Get returns what was read at most age ago, or reads it again. If it cannot be read, Get logs the error and returns what was read last.
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
			site.Logger.WarnContext(ctx, "a part of a page cannot be read", slog.String("error", err.Error()))
		}
		return k.last
	}
	k.at, k.last = now, value
	return value
}

// Forget makes Get read again.
func (k *Kept[T]) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = time.Time{}
}
