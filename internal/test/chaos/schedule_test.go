package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// schedule is what a seed defines.
type schedule struct {
	seed   uint64
	length time.Duration // how long faults happen and events are written

	workers     int // processes, each with two dates at a time
	writers     int
	rest        time.Duration // longest pause of a writer between transactions
	maxEntities int           // in memory; there are entities on each date
	pace        float64       // see pace.Pacer
	dawdle      time.Duration // delay of each statement that reads events
	drag        time.Duration // delay of each statement that writes metrics
	watch       bool          // whether triggers on the source request dates, too
	follower    bool          // whether events are read from a follower

	steps []step
}

// step is one fault.
type step struct {
	at, lasts time.Duration
	fault     fault
	target    int     // a process, a date or similar, modulo their number
	size      float64 // from 0 to 1, the size of the fault
}

// fault is the name of a fault.
type fault string

// Faults. What each does is in trial.do.
const (
	kill       fault = "kill -9 of a worker"
	term       fault = "SIGTERM of a worker"
	freeze     fault = "SIGSTOP of a worker until it is rescued"
	crash      fault = "immediate shutdown of Postgres"
	terminate  fault = "pg_terminate_backend"
	cut        fault = "proxy: cut"
	stall      fault = "proxy: stall"
	half       fault = "proxy: one direction is dead"
	torn       fault = "proxy: answers break off"
	lockTable  fault = "a table is locked"
	lockRow    fault = "rows of a date are locked"
	full       fault = "no connection is left"
	impatience fault = "the role's statement_timeout is next to nothing"
	slow       fault = "reading takes longer than statement_timeout"
	jump       fault = "a worker moves to a machine whose clock is wrong"
	lag        fault = "the follower stops replaying"
)

// silence is the time after which a worker of the harness counts as dead.
const silence = 2 * time.Second

// often is the relative frequency of each fault.
var often = []struct {
	fault fault
	parts int
}{
	{kill, 4},
	{term, 3},
	{freeze, 4},
	{crash, 2},
	{terminate, 4},
	{cut, 2},
	{stall, 2},
	{half, 3},
	{torn, 3},
	{lockTable, 2},
	{lockRow, 3},
	{full, 2},
	{impatience, 2},
	{slow, 2},
	{jump, 4},
	{lag, 4},
}

// newSchedule returns the schedule of a seed, which is always the same.
func newSchedule(seed uint64) schedule {
	random := rand.New(rand.NewPCG(seed, 0))
	between := func(low, high time.Duration) time.Duration {
		return low + time.Duration(random.Int64N(int64(high-low)))
	}
	s := schedule{
		seed: seed, length: between(4*time.Second, 6*time.Second),
		workers: 2 + random.IntN(2), writers: 2 + random.IntN(2),
		maxEntities: []int{4, 10, 25, 1_000}[random.IntN(4)],
		pace:        []float64{0, 0, 0, 0.3}[random.IntN(4)],
		rest:        time.Duration([]int{60, 200, 600, 1_500}[random.IntN(4)]) * time.Millisecond,
		dawdle:      between(0, 12*time.Millisecond),
		drag:        between(0, 40*time.Millisecond),
		watch:       random.IntN(4) == 0,
		follower:    random.IntN(6) == 0,
	}
	parts := 0
	for _, o := range often {
		parts += o.parts
	}
	for range 5 + random.IntN(6) {
		part := random.IntN(parts)
		var one fault
		for _, o := range often {
			if part -= o.parts; part < 0 {
				one = o.fault
				break
			}
		}
		next := step{
			fault: one, at: between(300*time.Millisecond, s.length-300*time.Millisecond),
			lasts: between(20*time.Millisecond, 900*time.Millisecond), target: random.IntN(1_000), size: random.Float64(),
		}
		switch one {
		case freeze: // It may last longer than the schedule, so that the worker is rescued and wakes up while others work.
			next.at, next.lasts = between(300*time.Millisecond, s.length/2), silence+between(time.Second, 2500*time.Millisecond)
		case stall, lockTable, lockRow, slow, jump, lag:
			next.lasts = between(100*time.Millisecond, 2500*time.Millisecond)
		default:
		}
		if one == lag && !s.follower {
			next.fault = kill
		}
		s.steps = append(s.steps, next)
	}
	if s.follower { // The follower always falls behind once.
		s.steps[0].fault, s.steps[0].lasts = lag, between(500*time.Millisecond, 2500*time.Millisecond)
	}
	slices.SortFunc(s.steps, func(a, b step) int { return int(a.at - b.at) })
	return s
}

func (s schedule) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "seed %d: %s, %d workers, %d writers that rest up to %s, max-entities %d, pace %g, dawdle %s, drag %s, watch %t, follower %t\n",
		s.seed, s.length, s.workers, s.writers, s.rest, s.maxEntities, s.pace, s.dawdle, s.drag, s.watch, s.follower)
	for _, step := range s.steps {
		fmt.Fprintf(&text, "  %6d ms  %s (for %d ms; target %d, size %.2f)\n",
			step.at.Milliseconds(), step.fault, step.lasts.Milliseconds(), step.target, step.size)
	}
	return text.String()
}

// TestSchedule: a seed always gives the same schedule, and 200 seeds include all faults and circumstances.
func TestSchedule(t *testing.T) {
	t.Parallel()
	faults, watched, followed := map[fault]int{}, 0, 0
	for seed := uint64(1); seed <= 200; seed++ {
		s := newSchedule(seed)
		require.Equal(t, s, newSchedule(seed))
		for _, step := range s.steps {
			faults[step.fault]++
			require.Less(t, step.at, s.length)
		}
		if s.watch {
			watched++
		}
		if s.follower {
			followed++
		}
	}
	for _, o := range often {
		require.Greater(t, faults[o.fault], 10, o.fault)
	}
	require.Greater(t, watched, 20)
	require.Greater(t, followed, 20)
	t.Logf("%d with triggers on the source, %d with a follower; %v", watched, followed, faults)
}

// sliceCounts returns the target number of counts per slice. Half of the seeds have slices that are much smaller than a date. The others have the
// default, with which all dates of the harness are small ones.
func (s schedule) sliceCounts() string {
	if s.seed%2 == 0 {
		return "0"
	}
	return "8"
}
