package jobs_test

import (
	"context"
	"sync"
	"time"

	"github.com/daymill/daymill/internal/pace"
)

// testClock stands still until it is set. Pauses take no time of it, and nearly none of anybody's.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

var _ pace.Clock = (*testClock)(nil)

func newTestClock(now time.Time) *testClock { return &testClock{now: now} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

func (*testClock) Sleep(ctx context.Context, d time.Duration) error {
	return pace.SystemClock{}.Sleep(ctx, min(d, time.Millisecond))
}
