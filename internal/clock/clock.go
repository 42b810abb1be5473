// Package clock is Postgres's clock, read in a process. It decides what is due, over or still to come, because all processes write
// to one ledger and the clocks of their machines may differ by days.
//
// [Clock.Sync] asks Postgres for the time. Between two syncs, [Clock.Now] uses this machine's monotonic clock, which nobody can set.
// Processes sync when they start, and then every [Every].
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
	// Every is how often a long-running process syncs.
	Every = 30 * time.Second
	// Tolerance is how far a machine's clock may differ from Postgres's. Beyond that, the process reports it and does not become leader.
	Tolerance = time.Minute
	// step is the smallest difference that a sync corrects. A smaller one may be the round trip, and durations are measured
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

// New returns a clock that uses the machine's clock between syncs.
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
	// Postgres read its clock at some instant between the two. With the later one, this clock is never ahead of Postgres's.
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

// Keep syncs until ctx is done. After an error it keeps the clock unchanged and tries again.
func (c *Clock) Keep(ctx context.Context, db *postgres.DB) {
	for c.machine.Sleep(ctx, Every) == nil {
		_ = c.Sync(ctx, db)
	}
}

// Now returns Postgres's time, or up to a second before it.
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

// Ahead returns how far the machine's clock was ahead of Postgres's at the last sync; it is negative if the machine's clock was
// behind. It leaves out what the round trip may explain.
func (c *Clock) Ahead() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}

// Off reports whether the machine's clock differs from Postgres's by more than Tolerance.
func (c *Clock) Off() bool { return c.Ahead().Abs() > Tolerance }
