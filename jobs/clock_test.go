package jobs_test

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/daymill/daymill/internal/pace"
)

// testClock is the system's until it is set; then it stands still, and pauses are over at once. It counts how often it
// was asked for the time.
type testClock struct {
	calls atomic.Int64

	mu  sync.Mutex
	now time.Time
}

var _ pace.Clock = (*testClock)(nil)

func newTestClock(now time.Time) *testClock { return &testClock{now: now} }

func (c *testClock) Now() time.Time {
	c.calls.Add(1)
	if now := c.isSetTo(); !now.IsZero() {
		return now
	}
	return pace.SystemClock{}.Now()
}

func (c *testClock) Sleep(ctx context.Context, d time.Duration) error {
	if !c.isSetTo().IsZero() {
		d = 0
	}
	return pace.SystemClock{}.Sleep(ctx, d)
}

func (c *testClock) isSetTo() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}
