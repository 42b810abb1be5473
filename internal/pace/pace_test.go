package pace_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/daymill/daymill/internal/pace"
)

// clock moves only when the test moves it, or during a sleep.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.now = c.now.Add(d)
	return context.Cause(ctx)
}

// oversleeper sleeps for nine minutes longer than it should, as if its process was suspended.
type oversleeper struct{ *clock }

func (c oversleeper) Sleep(ctx context.Context, d time.Duration) error {
	return c.clock.Sleep(ctx, d+9*time.Minute)
}

// link has waited for the network for so long.
type link struct{ waited time.Duration }

func (l *link) Waited() time.Duration { return l.waited }

func TestPacer(t *testing.T) {
	t.Parallel()

	setup := func(p float64) (*clock, *pace.Pacer) {
		c := &clock{now: time.Unix(0, 0)}
		return c, &pace.Pacer{Clock: c, Pace: pace.Fixed(p)}
	}

	t.Run("EndsWithItsContext", func(t *testing.T) {
		t.Parallel()
		_, pacer := setup(0)
		ctx, cancel := context.WithCancelCause(t.Context())
		errStop := errors.New("stop")
		cancel(errStop)
		require.ErrorIs(t, pacer.Pause(ctx, time.Second), errStop)
	})

	t.Run("PausesByThePace", func(t *testing.T) {
		t.Parallel()
		c, pacer := setup(1.5)
		for _, d := range []time.Duration{40 * time.Millisecond, 100 * time.Millisecond, 20 * time.Millisecond} {
			took, err := pacer.Do(nil, func() error { c.now = c.now.Add(d); return nil })
			require.NoError(t, err)
			require.Equal(t, d, took)
			require.NoError(t, pacer.Pause(t.Context(), took))
		}
		require.Equal(t, 160*time.Millisecond, pacer.Worked)
		require.Equal(t, 240*time.Millisecond, pacer.Paused)
		require.Equal(t, 100*time.Millisecond, pacer.Longest)
	})

	t.Run("PausesNotForLongerThanASignOfLifeAllows", func(t *testing.T) {
		t.Parallel()
		_, pacer := setup(1000)
		require.NoError(t, pacer.Pause(t.Context(), time.Second))
		require.Equal(t, 10*time.Second, pacer.Paused)
	})

	t.Run("ASuspendedProcessDoesNotWork", func(t *testing.T) {
		t.Parallel()
		c, pacer := setup(1)
		l := &link{}
		took, err := pacer.Do(l, func() error {
			l.waited += 9 * time.Minute
			c.now = c.now.Add(9*time.Minute + 40*time.Millisecond)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 40*time.Millisecond, took)
		require.Equal(t, time.Second+40*time.Millisecond, pacer.Worked)
		pacer.Clock = oversleeper{c}
		require.NoError(t, pacer.Pause(t.Context(), took))
		require.Zero(t, pacer.Paused, "the server rested while the process was suspended")
		require.NoError(t, pacer.Pause(t.Context(), took))
		require.Equal(t, 40*time.Millisecond, pacer.Paused)
	})

	t.Run("RoundTripsAreWork", func(t *testing.T) {
		t.Parallel()
		c, pacer := setup(1)
		l := &link{}
		_, err := pacer.Do(l, func() error {
			l.waited += 120 * time.Millisecond
			c.now = c.now.Add(125 * time.Millisecond)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 125*time.Millisecond, pacer.Worked)
	})

	t.Run("RoundTripsArePauses", func(t *testing.T) {
		t.Parallel()
		c, pacer := setup(1)
		l := &link{}
		once := func() time.Duration {
			took, err := pacer.Do(l, func() error {
				l.waited += 30 * time.Millisecond
				c.now = c.now.Add(130 * time.Millisecond)
				return nil
			})
			require.NoError(t, err)
			return took
		}
		require.NoError(t, pacer.Pause(t.Context(), once()))
		require.Equal(t, 70*time.Millisecond, pacer.Paused)
		once()
		require.NoError(t, pacer.Pause(t.Context(), once()))
		require.Equal(t, 110*time.Millisecond, pacer.Paused, "both statements waited")
		require.NoError(t, pacer.Pause(t.Context(), 100*time.Millisecond))
		require.Equal(t, 210*time.Millisecond, pacer.Paused, "what has passed counts once")
	})

	t.Run("ZeroMeansNone", func(t *testing.T) {
		t.Parallel()
		_, pacer := setup(0)
		require.NoError(t, pacer.Pause(t.Context(), time.Second))
		require.Zero(t, pacer.Paused)
	})
}

// Whatever a unit costs, the size settles where a statement takes about the target. Now and then a statement
// is made smaller, to compare, so the median of the last ones counts.
func TestSizeFindsTheTarget(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		perUnit := time.Duration(rapid.Int64Range(1, int64(50*time.Millisecond)).Draw(t, "cost of a unit"))
		size := pace.NewSize(rapid.Float64Range(1, 1e6).Draw(t, "first"), 1, 1e9)
		var all []time.Duration
		for range 64 {
			value := float64(int(size.Value()))
			took := time.Duration(value * float64(perUnit))
			all = append(all, took)
			if took > size.Limit() {
				require.True(t, size.TimedOut(value))
				continue
			}
			size.Took(value, took)
		}
		last := all[len(all)-9:]
		slices.Sort(last)
		require.InDelta(t, float64(pace.Target), float64(last[len(last)/2]), float64(pace.Target)/2)
	})
}

// Part of a statement's time is fixed, such as planning, and may exceed the limit. The rest still settles at
// about the target, and few statements reach their limit.
func TestSizeLearnsWhatIsFixed(t *testing.T) {
	t.Parallel()
	learns := func(t require.TestingT, fixed, perUnit time.Duration, seed uint64, first float64) {
		noise := rand.New(rand.NewPCG(seed, seed))
		size := pace.NewSize(first, 1, 1e6)
		var largest time.Duration
		timeouts, late := 0, 0
		for i := range 80 {
			value := float64(int(size.Value()))
			rest := time.Duration(value * float64(perUnit))
			took := fixed + rest + time.Duration(noise.Int64N(int64(5*time.Millisecond)))
			if took > size.Limit() {
				require.True(t, size.TimedOut(value))
				if timeouts++; i > 40 {
					late++
				}
				continue
			}
			size.Took(value, took)
			if i > 40 {
				largest = max(largest, rest)
			}
		}
		require.Less(t, timeouts, 40)
		require.Less(t, late, 14)
		require.Greater(t, largest, pace.Target/5)
	}
	rapid.Check(t, func(t *rapid.T) {
		learns(t,
			time.Duration(rapid.Int64Range(0, int64(6*time.Second)).Draw(t, "fixed")),
			time.Duration(rapid.Int64Range(int64(time.Microsecond), int64(time.Millisecond)).Draw(t, "cost of a unit")),
			rapid.Uint64().Draw(t, "seed of the noise"), rapid.Float64Range(100, 1e5).Draw(t, "first"))
	})
	// A fixed part that is almost the target: the size grew so slowly that a smaller one was about as large as the one to compare it with.
	for seed := range uint64(500) {
		learns(t, 92188836, 1060, seed, 100)
	}
}

// Each of the 32 shards of a distributed table costs a statement its own time. So the time of a few rows grows with their number, and that of many
// does not.
func TestSize_Floor(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		noise := rand.New(rand.NewPCG(seed, seed))
		size := pace.NewSize(1000, 1, 5000).Floor(250)
		statements, tries := 0, 0
		for left := 10_000; left > 0; tries++ {
			value := min(left, int(size.Value()))
			took := time.Duration(noise.Float64() * float64(min(32, value)) * float64(30*time.Millisecond))
			if took > size.Limit() {
				require.True(t, size.TimedOut(float64(value)))
				continue
			}
			size.Took(float64(value), took)
			left -= value
			statements++
		}
		require.LessOrEqual(t, statements, 40, "seed %d", seed)
		require.LessOrEqual(t, tries, 120, "seed %d", seed)
	}
	// What takes longer than patientLimit gets smaller.
	size := pace.NewSize(1000, 1, 1000).Floor(250)
	for range 10 {
		require.True(t, size.TimedOut(size.Value()))
	}
	require.Less(t, size.Value(), 250.0)
}

func TestSizeGivesUp(t *testing.T) {
	t.Parallel()
	size := pace.NewSize(1000, 1, 1000).Floor(250)
	tries := 0
	for size.TimedOut(size.Value()) { // At every size, down to the smallest.
		tries++
		require.Less(t, tries, 30)
	}
	require.Greater(t, size.Limit(), 10*time.Second)
	require.Less(t, size.Limit(), 15*time.Second)
	size.Took(1, time.Millisecond)
	require.Equal(t, pace.Limit, size.Limit())
}

// No statement of a run takes longer than about a quarter of a second, including the time to cancel it.
func TestLimit(t *testing.T) {
	t.Parallel()
	require.LessOrEqual(t, pace.Target, 100*time.Millisecond)
	require.LessOrEqual(t, pace.NewSize(1, 1, 1).Limit(), 200*time.Millisecond)
}
