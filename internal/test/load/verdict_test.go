package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/test/recount"
)

// steady returns samples of an hour in which only the counters change.
func steady() []sample {
	begun := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
	samples := make([]sample, 13)
	for i := range samples {
		n := int64(i)
		samples[i] = sample{
			at: begun.Add(time.Duration(i) * 10 * time.Second), events: n * 50_000, runs: n * 100, satisfied: n * 4_000,
			lag: time.Second, watchLag: 31 * time.Second, memory: []int64{60 << 20, 70 << 20}, tables: map[string]table{},
			connections: map[string]int{"daymill worker": 14, "load writer": 8},
		}
		for _, name := range tables() {
			samples[i].tables[name] = table{live: n * 1_000, dead: 20_000, bytes: n << 20}
		}
	}
	return samples
}

// bad returns the names of the bad verdicts.
func bad(samples []sample, end ending) (what []string) {
	for _, v := range judge(samples, end) {
		if !v.good {
			what = append(what, v.what)
		}
	}
	return what
}

func TestJudge(t *testing.T) {
	t.Parallel()
	good := ending{recount: recount.Recount{Dates: 14, Events: 280_000}}
	require.Empty(t, bad(steady(), good))

	// Each fault is in the last third or at the end, and is the only bad verdict.
	faults := map[string]func(last sample, end *ending) sample{
		"connections of workers": func(s sample, _ *ending) sample {
			s.connections = map[string]int{"daymill worker": 19}
			return s
		},
		"connections once the workers have stopped": func(s sample, end *ending) sample {
			end.left = map[string]int{"daymill worker": 1}
			return s
		},
		"dates rolled up a second": func(s sample, _ *ending) sample {
			s.runs -= 100
			return s
		},
		"dead rows of daymill.audit": func(s sample, _ *ending) sample {
			s.tables["daymill.audit"] = table{dead: 40_000}
			return s
		},
		"events changed a second": func(s sample, _ *ending) sample {
			s.events -= 50_000
			return s
		},
		"memory of worker 2": func(s sample, _ *ending) sample {
			s.memory = []int64{60 << 20, 110 << 20}
			return s
		},
		"metrics equal a recount": func(s sample, end *ending) sample {
			end.differs = recount.ErrDiffers
			return s
		},
		"oldest open request": func(s sample, _ *ending) sample {
			s.lag = 10 * time.Second
			return s
		},
		"oldest open request of the triggers": func(s sample, _ *ending) sample {
			s.watchLag = time.Minute
			return s
		},
		"requests satisfied a second": func(s sample, _ *ending) sample {
			s.satisfied -= 4_000
			return s
		},
	}
	for what, fault := range faults {
		t.Run(strings.ReplaceAll(what, " ", ""), func(t *testing.T) {
			t.Parallel()
			samples, end := steady(), good
			samples[12] = fault(samples[12], &end)
			require.Equal(t, []string{what}, bad(samples, end))
		})
	}

	t.Run("NothingCounted", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, []string{"metrics equal a recount"}, bad(steady(), ending{}))
	})
	t.Run("NothingDone", func(t *testing.T) {
		t.Parallel()
		samples := steady()
		for i := range samples {
			samples[i].runs = 0
		}
		require.Equal(t, []string{"dates rolled up a second"}, bad(samples, good))
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	o := options{duration: 10 * time.Minute, every: 10 * time.Second, writers: 8, processes: 2, dates: 14, events: 1}
	require.NoError(t, o.check())
	require.Equal(t, 10*time.Second, o.every)
	o.duration = time.Minute
	require.NoError(t, o.check())
	require.Equal(t, 6600*time.Millisecond, o.every, "three samples and more in each third")
	o.writers = 0
	require.Error(t, o.check())
}
