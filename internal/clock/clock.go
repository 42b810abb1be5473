// Package clock is Postgres's clock, read in a process. What is due, over or to come is Postgres's clock to say: the
// machines of an application's processes may disagree about the time by days, and all of them write to one ledger.
//
// [Clock.Sync] asks Postgres for the time. Between two of them [Clock.Now] goes on by this machine's monotonic clock, which
// nobody sets. Processes sync when they start, and then every [Every].
package clock

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/pace"
	"github.com/daymill/daymill/internal/postgres"
)

const (
	// Every is how often a process that lives for long syncs.
	Every = 30 * time.Second
	// Tolerance is how far a machine's clock may be from Postgres's before the process says so and leads nothing.
	Tolerance = time.Minute
	// step is the smallest difference that a sync corrects. Less is what a round trip may take, and durations are measured
	// with this clock.
	step = time.Second
)

// Clock is Postgres's clock. It is safe for concurrent use. Until the first Sync it is the machine's.
type Clock struct {
	machine pace.Clock

	mu            sync.Mutex
	server, local time.Time // what the two clocks said at the last correction
	ahead         time.Duration
}

var _ pace.Clock = (*Clock)(nil)

// New returns a clock that goes on by the machine's.
func New(machine pace.Clock) *Clock { return &Clock{machine: machine} }

// Sync asks Postgres for the time.
func (c *Clock) Sync(ctx context.Context, db *postgres.DB) error {
	var server time.Time
	before := c.machine.Now()
	err := db.Read(ctx, func(on postgres.DBTX) error {
		return on.QueryRow(ctx, "SELECT pg_catalog.clock_timestamp()").Scan(&server)
	})
	if err != nil {
		return fmt.Errorf("ask Postgres for the time: %w", err)
	}
	after := c.machine.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	// It was read at some instant between the two. Taking the later one, this clock is never ahead of Postgres's.
	if c.local.IsZero() || c.now(after).Sub(server).Abs() > step {
		c.server, c.local = server, after
	}
	switch {
	case before.After(server):
		c.ahead = before.Sub(server)
	case after.Before(server):
		c.ahead = after.Sub(server)
	default:
		c.ahead = 0
	}
	return nil
}

// Keep syncs until ctx is done. An error leaves the clock as it is, to be tried again.
func (c *Clock) Keep(ctx context.Context, db *postgres.DB) {
	for c.machine.Sleep(ctx, Every) == nil {
		_ = c.Sync(ctx, db)
	}
}

// Now is Postgres's time, or up to a second before it.
func (c *Clock) Now() time.Time {
	now := c.machine.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now(now)
}

func (c *Clock) now(local time.Time) time.Time {
	if c.local.IsZero() {
		return local
	}
	return c.server.Add(local.Sub(c.local))
}

// Sleep returns after d, or ctx's cause once ctx is done.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error { return c.machine.Sleep(ctx, d) }

// Ahead is how far the machine's clock was ahead of Postgres's at the last sync, less than nothing where it was behind. What
// the round trip may explain is left out.
func (c *Clock) Ahead() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}

// Off reports whether the machine's clock is further from Postgres's than Tolerance.
func (c *Clock) Off() bool { return c.Ahead().Abs() > Tolerance }
