package model_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var troubles = flag.Uint("troubles", 2, "how many crashes, errors, lost answers, mistaken rescues and restores there may be in all")

// start has a complete date with one event, which belongs to the entity that a change deletes from.
func start() state { return state{troubles: uint8(min(*troubles, 100))} }

// found is the result of an exploration.
type found struct {
	states, steps, quiet int
	wrong                string
	trace                []state
}

// explore visits every reachable state, in the order of the number of steps, until something is wrong.
func explore(m mutation) (f found) {
	number := map[state]int32{start(): 0}
	all, parents := []state{start()}, []int32{0}
	var from, to []int32 // Steps.
	fail := func(wrong string, i int32) found {
		f.wrong, f.states, f.steps = wrong, len(all), len(from)
		for ; i != 0; i = parents[i] {
			f.trace = append([]state{all[i]}, f.trace...)
		}
		return f
	}
	for i := int32(0); int(i) < len(all); i++ {
		s := all[i]
		if s.quiet() {
			f.quiet++
			if s.published != s.committed {
				return fail("nothing is left to do, and the metrics are not exact", i)
			}
			for _, d := range s.dates {
				if d.state != complete {
					return fail("nothing is left to do, and a date is not complete", i)
				}
			}
		}
		machine := &machine{mutation: m}
		for _, n := range machine.next(s) {
			n = n.canonical()
			j, known := number[n]
			if !known {
				j = int32(len(all))
				number[n] = j
				all, parents = append(all, n), append(parents, i)
			}
			from, to = append(from, i), append(to, j)
		}
		if machine.wrong != "" {
			return fail(machine.wrong, i)
		}
	}
	f.states, f.steps = len(all), len(from)
	if stuck := firstStuck(all, from, to); stuck >= 0 {
		return fail("from here it never becomes quiet", stuck)
	}
	return f
}

// firstStuck returns a state from which no quiet one can be reached, or -1.
func firstStuck(all []state, from, to []int32) int32 {
	before := make([][]int32, len(all))
	for k := range from {
		before[to[k]] = append(before[to[k]], from[k])
	}
	reaches := make([]bool, len(all))
	var queue []int32
	for i := range all {
		if all[i].quiet() {
			reaches[i] = true
			queue = append(queue, int32(i))
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, i := range before[queue[0]] {
			if !reaches[i] {
				reaches[i] = true
				queue = append(queue, i)
			}
		}
	}
	for i := range reaches {
		if !reaches[i] {
			return int32(i)
		}
	}
	return -1
}

func (f found) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d states, %d steps, %d quiet: %s\n", f.states, f.steps, f.quiet, f.wrong)
	for i, s := range f.trace {
		fmt.Fprintf(&text, "%3d %+v\n", i+1, s)
	}
	return text.String()
}

// TestModel explores the correct machine, and six broken ones, each of which must be noticed.
func TestModel(t *testing.T) {
	t.Parallel()
	t.Run("AsItIs", func(t *testing.T) {
		t.Parallel()
		f := explore(mutation{})
		require.Empty(t, f.wrong, f.String())
		require.Positive(t, f.quiet)
		t.Log(f.String())
	})
	for name, m := range map[string]mutation{
		"ConsumeAll":   {consumeAll: true},
		"KeepCursor":   {keepCursor: true},
		"KeepVanished": {keepVanished: true},
		"LookOnce":     {lookOnce: true}, // A run checks for requests before it has the date's lock, and not again.
		"NoFence":      {noFence: true},
		"NoToken":      {noToken: true}, // A run is identified by its number alone, which can repeat after a restore.
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := explore(m)
			require.NotEmpty(t, f.wrong)
			t.Logf("%d steps: %s", len(f.trace), f.wrong)
		})
	}
}
