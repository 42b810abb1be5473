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

// captureSchedule is the schedule that a seed of capture defines.
type captureSchedule struct {
	seed   uint64
	length time.Duration // how long faults happen and rows change

	wal     bool // otherwise by triggers
	apart   bool // whether the application's database is in a separate cluster
	workers int
	writers int
	rest    time.Duration // longest pause of a writer between transactions
	shards  int           // of the webhook and of the copy
	batch   bool          // whether the webhook takes batches
	redis   bool
	rollup  bool // whether late events are noticed in the stream
	poison  bool // whether the webhook refuses some rows permanently
	views   bool

	steps []step
}

// Faults of capture, in addition to some of the rollup's.
const (
	openLong       fault = "a transaction is open for long"
	snapshotAgain  fault = "a snapshot is requested"
	sinkAnswers    fault = "the webhook does not answer as it should"
	sinkCut        fault = "the copy's database is cut off"
	redisKill      fault = "Redis is killed"
	slotDrop       fault = "the slot is dropped"
	slotAgain      fault = "the slot is dropped and created again"
	slotAdvance    fault = "the slot is advanced"
	publishNot     fault = "the publication loses a table"
	publishGone    fault = "the publication is dropped"
	triggersGone   fault = "a table loses its triggers"
	queueEmpty     fault = "the queue is emptied by hand"
	tableAgain     fault = "a table is dropped and created again"
	columnMore     fault = "a table gets a column"
	sourceCut      fault = "the application's database is cut off from the workers"
	sourceCrash    fault = "immediate shutdown of the application's database"
	sourceRestore  fault = "the application's database becomes an older backup"
	sourceFailover fault = "a follower of the application's database is promoted"
)

// captureOften is the relative frequency of each fault, and whether a schedule can have it.
var captureOften = []struct {
	fault fault
	parts int
	can   func(s captureSchedule) bool
}{
	{kill, 5, always},
	{term, 3, always},
	{freeze, 2, always},
	{crash, 2, always},
	{terminate, 4, always},
	{cut, 2, always},
	{stall, 2, always},
	{half, 2, always},
	{torn, 2, always},
	{lockTable, 2, always},
	{openLong, 3, always},
	{snapshotAgain, 4, always},
	{sinkAnswers, 6, always},
	{sinkCut, 3, always},
	{tableAgain, 2, always},
	{columnMore, 1, always},
	{redisKill, 4, func(s captureSchedule) bool { return s.redis }},
	{slotDrop, 2, isWAL},
	{slotAgain, 2, isWAL},
	{slotAdvance, 2, isWAL},
	{publishNot, 3, isWAL},
	{publishGone, 2, isWAL},
	{triggersGone, 3, isTrigger},
	{queueEmpty, 2, isTrigger},
	{sourceCut, 2, isApart},
	{sourceCrash, 3, isApart},
	{sourceRestore, 4, isApart},
	{sourceFailover, 4, isApart},
}

func always(captureSchedule) bool      { return true }
func isWAL(s captureSchedule) bool     { return s.wal }
func isTrigger(s captureSchedule) bool { return !s.wal }
func isApart(s captureSchedule) bool   { return s.apart }

// gaps are faults after which changes may be missing, until a snapshot repairs that.
var gaps = []fault{
	slotDrop, slotAgain, slotAdvance, publishNot, publishGone, triggersGone, queueEmpty, tableAgain, sourceRestore, sourceFailover,
}

// newCaptureSchedule returns the schedule of a seed, which is always the same.
func newCaptureSchedule(seed uint64) captureSchedule {
	random := rand.New(rand.NewPCG(seed, 1))
	between := func(low, high time.Duration) time.Duration {
		return low + time.Duration(random.Int64N(int64(high-low)))
	}
	s := captureSchedule{
		seed: seed, length: between(4*time.Second, 6*time.Second), wal: random.IntN(5) < 3, apart: random.IntN(3) == 0,
		workers: 1 + random.IntN(3), writers: 2 + random.IntN(2), shards: 1 + random.IntN(3), batch: random.IntN(2) == 0,
		rest:  time.Duration([]int{20, 60, 200, 600}[random.IntN(4)]) * time.Millisecond,
		redis: random.IntN(3) == 0, poison: random.IntN(4) == 0, views: true,
	}
	s.rollup = !s.apart && random.IntN(2) == 0
	parts := 0
	for _, o := range captureOften {
		if o.can(s) {
			parts += o.parts
		}
	}
	once := map[fault]bool{}
	for range 2 + random.IntN(5) {
		part := random.IntN(parts)
		var one fault
		for _, o := range captureOften {
			if !o.can(s) {
				continue
			}
			if part -= o.parts; part < 0 {
				one = o.fault
				break
			}
		}
		next := step{
			fault: one, at: between(500*time.Millisecond, s.length-500*time.Millisecond),
			lasts: between(50*time.Millisecond, 1500*time.Millisecond), target: random.IntN(1_000), size: random.Float64(),
		}
		switch one {
		case freeze: // Longer than the silence after which the worker counts as dead.
			next.lasts = between(11*time.Second, 13*time.Second)
		case openLong:
			next.lasts = between(s.length/2, s.length)
		case sourceRestore, sourceFailover:
			if once[sourceRestore] || once[sourceFailover] {
				next.fault = kill
			}
			once[one] = true
			next.at = between(s.length/2, s.length-500*time.Millisecond)
		default:
		}
		s.steps = append(s.steps, next)
	}
	slices.SortFunc(s.steps, func(a, b step) int { return int(a.at - b.at) })
	return s
}

// has reports whether one of the faults is in the schedule.
func (s captureSchedule) has(faults ...fault) bool {
	return slices.ContainsFunc(s.steps, func(one step) bool { return slices.Contains(faults, one.fault) })
}

func (s captureSchedule) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "seed %d: %s, wal %t, apart %t, %d workers, %d writers that rest up to %s, %d shards, batch %t, redis %t, rollup %t, poison %t\n",
		s.seed, s.length, s.wal, s.apart, s.workers, s.writers, s.rest, s.shards, s.batch, s.redis, s.rollup, s.poison)
	for _, step := range s.steps {
		fmt.Fprintf(&text, "  %6d ms  %s (for %d ms; target %d, size %.2f)\n",
			step.at.Milliseconds(), step.fault, step.lasts.Milliseconds(), step.target, step.size)
	}
	return text.String()
}

// TestCaptureSchedule: a seed always gives the same schedule, and 200 seeds include all faults and circumstances.
func TestCaptureSchedule(t *testing.T) {
	t.Parallel()
	faults, circumstances := map[fault]int{}, map[string]int{}
	for seed := uint64(1); seed <= 200; seed++ {
		s := newCaptureSchedule(seed)
		require.Equal(t, s, newCaptureSchedule(seed))
		for _, step := range s.steps {
			faults[step.fault]++
			require.Less(t, step.at, s.length)
		}
		for name, is := range map[string]bool{
			"wal": s.wal, "trigger": !s.wal, "apart": s.apart, "batch": s.batch, "redis": s.redis, "rollup": s.rollup, "poison": s.poison,
			"shards": s.shards > 1, "gapless": !s.has(gaps...),
		} {
			if is {
				circumstances[name]++
			}
		}
	}
	for _, o := range captureOften {
		require.Greater(t, faults[o.fault], 3, o.fault)
	}
	for name, count := range circumstances {
		require.Greater(t, count, 20, name)
	}
	t.Logf("%v; %v", circumstances, faults)
}
