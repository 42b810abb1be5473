package pace_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/pace"
)

// TestGovernor_Observe: each sign of other work slows runs down, says so, and is forgotten when it is over.
func TestGovernor_Observe(t *testing.T) {
	t.Parallel()
	quiet := pace.Load{WALRate: 10 << 20, Took: time.Millisecond}
	with := func(change func(l *pace.Load)) pace.Load {
		l := quiet
		change(&l)
		return l
	}
	for name, test := range map[string]struct {
		load   pace.Load
		least  float64 // pace after a few seconds of it
		most   float64
		reason string
	}{
		"Alone":      {load: quiet, least: 0.25, most: 0.25, reason: "nobody else uses the database"},
		"Hidden":     {load: with(func(l *pace.Load) { l.Hidden = 3 }), least: 1, most: 1, reason: "it may not see what 3 sessions of other roles are doing (pg_read_all_stats)"},
		"Sessions":   {load: with(func(l *pace.Load) { l.Recent = 2 }), least: 4, most: 4, reason: "2 sessions of others are at work"},
		"OneSession": {load: with(func(l *pace.Load) { l.Recent = 1 }), least: 4, most: 4, reason: "1 session of others is at work"},
		"Waiting":    {load: with(func(l *pace.Load) { l.Recent, l.Waiting = 3, 2 }), least: 20, most: 20, reason: "sessions of others wait for the disk or for locks"},
		"Standby":    {load: with(func(l *pace.Load) { l.Lag = 90 * time.Second }), least: 20, most: 20, reason: "a standby is 1 min 30 s behind"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &clock{now: time.Unix(0, 0)}
			governor := pace.NewGovernor(c, 0.25, nil)
			require.InDelta(t, 1, governor.Pace(), 0)
			observe := func(load pace.Load, seconds int) {
				for range 4 * seconds {
					c.now = c.now.Add(250 * time.Millisecond)
					governor.Observe(load)
				}
			}
			observe(test.load, 15)
			require.GreaterOrEqual(t, governor.Pace(), test.least)
			require.LessOrEqual(t, governor.Pace(), test.most)
			_, reason := governor.State()
			require.Equal(t, test.reason, reason)
			observe(quiet, 30)
			require.InDelta(t, 0.25, governor.Pace(), 0, "it is over")
		})
	}

	t.Run("WAL", func(t *testing.T) {
		t.Parallel()
		c := &clock{now: time.Unix(0, 0)}
		governor, load := pace.NewGovernor(c, 0.25, nil), quiet
		write := func(perSecond int64, seconds int) {
			for range 4 * seconds {
				c.now = c.now.Add(250 * time.Millisecond)
				load.WAL += perSecond / 4
				governor.Observe(load)
			}
		}
		load.WAL = 1
		write(0, 15)
		write(60<<20, 2) // One large day.
		require.InDelta(t, 0.25, governor.Pace(), 0)
		write(30<<20, 30)
		require.InDelta(t, 20, governor.Pace(), 0)
		_, reason := governor.State()
		require.Contains(t, reason, "max_wal_size")
	})

	t.Run("Slow", func(t *testing.T) {
		t.Parallel()
		c := &clock{now: time.Unix(0, 0)}
		governor, load := pace.NewGovernor(c, 0.25, nil), quiet
		load.Recent = 1
		observe := func(took time.Duration) {
			load.Took = took
			for range 20 {
				c.now = c.now.Add(250 * time.Millisecond)
				governor.Observe(load)
			}
		}
		observe(time.Millisecond)
		require.InDelta(t, 4, governor.Pace(), 0)
		observe(8 * time.Millisecond)
		require.Greater(t, governor.Pace(), 8.0)
		_, reason := governor.State()
		require.Contains(t, reason, "times as long as at best")
	})

	t.Run("Calm", func(t *testing.T) {
		t.Parallel()
		c := &clock{now: time.Unix(0, 0)}
		governor := pace.NewGovernor(c, 0.25, nil)
		observe := func(sessions int, want float64, reason string) {
			t.Helper()
			c.now = c.now.Add(6 * time.Second)
			governor.Observe(with(func(l *pace.Load) { l.Recent = sessions }))
			require.InDelta(t, want, governor.Pace(), 0)
			_, why := governor.State()
			require.Equal(t, reason, why)
		}
		observe(0, 1, "the database has been looked at for a moment only")
		observe(0, 1, "the database has been looked at for a moment only")
		observe(0, 0.25, "nobody else uses the database")
		observe(1, 4, "1 session of others is at work")
		observe(0, 4, "others were at work a moment ago")
		observe(0, 0.25, "nobody else uses the database")
	})

	t.Run("NeverBelowTheLeast", func(t *testing.T) {
		t.Parallel()
		c := &clock{now: time.Unix(0, 0)}
		governor := pace.NewGovernor(c, 30, nil)
		require.InDelta(t, 30, governor.Pace(), 0)
		governor.Observe(with(func(l *pace.Load) { l.Recent, l.Lag = 1, time.Hour }))
		require.InDelta(t, 30, governor.Pace(), 0)
	})
}

// TestGovernor_Run: a governor looks only while its process works, and does not speed up on what it has not seen.
func TestGovernor_Run(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := &clock{now: time.Unix(0, 0)}
	var governor *pace.Governor
	looks := 0
	steps := &stepClock{clock: c}
	governor = pace.NewGovernor(steps, 0.25, func(context.Context) (pace.Load, error) {
		looks++
		if looks > 1000 {
			return pace.Load{}, errors.New("it does not answer")
		}
		return pace.Load{Recent: 1, Lag: time.Hour}, nil
	})
	const idle = 100 // steps of a quarter of a second
	asked := 40
	steps.each = func(n int) {
		switch n {
		case 40:
			require.Zero(t, looks, "nothing works")
			governor.Pace()
		case 100: // After a pause and a statement, 15 s.
			asked = n
			require.InDelta(t, 20, governor.Pace(), 0, "the load is not forgotten in a long pause")
		case asked + idle + 1:
			require.InDelta(t, 60+idle, looks, 2)
			_, reason := governor.State()
			require.Equal(t, "the worker has nothing to do", reason)
			looks = 1000
			governor.Pace()
		case asked + idle + 10:
			require.InDelta(t, 1, governor.Pace(), 0)
			_, reason := governor.State()
			require.Equal(t, "the database could not be looked at", reason)
			cancel()
		}
	}
	governor.Run(ctx)
	require.Greater(t, looks, 1000)
}

// stepClock calls each before each sleep.
type stepClock struct {
	*clock

	n    int
	each func(n int)
}

func (c *stepClock) Sleep(ctx context.Context, d time.Duration) error {
	c.each(c.n)
	c.n++
	return c.clock.Sleep(ctx, d)
}
