package worker_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pace"
)

// testClock is the system's clock until it is set. Then it does not move, and pauses end at once. It counts how often it was read, and can keep
// runs in their next pause, if they have no open transaction.
type testClock struct {
	calls atomic.Int64

	mu      sync.Mutex
	now     time.Time
	keeping bool
	kept    []context.Context // of the runs, in the order in which they were kept
	let     map[context.Context]chan struct{}
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
	select {
	case <-c.letGo(ctx):
	case <-ctx.Done():
	}
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

// keep keeps every run that pauses from now on.
func (c *testClock) keep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keeping, c.let = true, make(map[context.Context]chan struct{})
}

// letGo returns a channel that is closed when a run may continue.
func (c *testClock) letGo(run context.Context) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.keeping {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	if c.let[run] == nil {
		c.let[run] = make(chan struct{})
		c.kept = append(c.kept, run)
	}
	return c.let[run]
}

// awaitKept returns once a number of runs have been kept.
func (c *testClock) awaitKept(t *testing.T, count int) {
	t.Helper()
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.kept) == count
	}, patience, 10*time.Millisecond)
}

// release lets the n-th kept run continue.
func (c *testClock) release(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.let[c.kept[n]])
}

// releaseAll lets all runs continue, and keeps no others.
func (c *testClock) releaseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keeping = false
	for _, let := range c.let {
		select {
		case <-let:
		default:
			close(let)
		}
	}
}
