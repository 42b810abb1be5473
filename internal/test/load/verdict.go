package main

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
)

// verdict is one of the judgements.
type verdict struct {
	what string
	good bool
	why  string
}

// The first third of the time is for warming up. The last third is compared with the middle one. The bounds allow for the noise of a machine, but
// not for growth: a figure that grows with time is half as much again from the middle of one third to the middle of the other, and more if it
// began at 0.
const (
	leastRate  = 0.8
	mostMemory = 1.25
	mostDead   = 1.4
	mostLag    = 1.4

	// mostConnections is the number of connections of a worker process with the default options: its pool, and two that listen.
	mostConnections = 9

	// Differences below these are noise.
	slackMemory = 16 << 20
	slackDead   = 5_000
	slackLag    = 2 * time.Second
)

// judge compares the last third of the samples with the middle one, and checks the end.
func judge(samples []sample, end ending) []verdict {
	n := len(samples) - 1 // the first is before anything was written
	middle, last := samples[n/3:2*n/3+1], samples[2*n/3:]
	all := []verdict{
		flat("events changed a second", middle, last, func(s sample) int64 { return s.events }),
		flat("dates rolled up a second", middle, last, func(s sample) int64 { return s.runs }),
		flat("requests satisfied a second", middle, last, func(s sample) int64 { return s.satisfied }),
		lag("oldest open request", middle, last, func(s sample) time.Duration { return s.lag }),
		lag("oldest open request of the triggers", middle, last, func(s sample) time.Duration { return s.watchLag }),
	}
	for i := range samples[0].memory {
		value := func(s sample) int64 { return s.memory[i] }
		all = append(all, bounded(fmt.Sprintf("memory of worker %d", i+1), most(middle, value), most(last, value), mostMemory, slackMemory, size))
	}
	for _, name := range tables() {
		value := func(s sample) int64 { return s.tables[name].dead }
		all = append(all, bounded("dead rows of "+name, most(middle, value), most(last, value), mostDead, slackDead, humanize.Comma))
	}
	connections, may := most(samples, func(s sample) int64 { return int64(s.ofWorkers()) }), int64(len(samples[0].memory)*mostConnections)
	left := 0
	for _, count := range end.left {
		left += count
	}
	return append(all,
		verdict{
			what: "connections of workers", good: connections <= may, why: fmt.Sprintf("at most %d, of the %d that they may have", connections, may),
		},
		verdict{what: "connections once the workers have stopped", good: left == 0, why: fmt.Sprintf("%d left", left)},
		exact(end),
	)
}

// flat returns whether something is as frequent in the last third as in the middle one.
func flat(what string, middle, last []sample, so func(sample) int64) verdict {
	before, after := rate(middle, so), rate(last, so)
	v := verdict{what: what, good: before > 0 && after >= leastRate*before}
	v.why = fmt.Sprintf("%s, then %s", perSecond(before), perSecond(after))
	if before > 0 {
		v.why += fmt.Sprintf(": %.2f times, at least %.2f", after/before, leastRate)
	}
	return v
}

func lag(what string, middle, last []sample, value func(sample) time.Duration) verdict {
	of := func(s sample) int64 { return int64(value(s)) }
	return bounded(what, most(middle, of), most(last, of), mostLag, int64(slackLag), func(n int64) string {
		return time.Duration(n).Round(10 * time.Millisecond).String()
	})
}

// bounded returns whether a peak is at most a multiple of the previous one, plus some slack.
func bounded(what string, before, after int64, times float64, slack int64, show func(int64) string) verdict {
	bound := int64(float64(before)*times) + slack
	return verdict{
		what: what, good: after <= bound,
		why: fmt.Sprintf("at most %s, then %s; bound %s", show(before), show(after), show(bound)),
	}
}

// exact returns whether nothing is left to do and the metrics equal the events.
func exact(end ending) verdict {
	v := verdict{what: "metrics equal a recount", good: end.differs == nil && end.unsettled == 0 && end.recount.Events > 0}
	switch {
	case end.differs != nil:
		v.why = end.differs.Error()
	case end.unsettled > 0:
		v.why = fmt.Sprintf("%d dates are not complete", end.unsettled)
	default:
		v.why = fmt.Sprintf("%s events of %d dates, %s after the last write",
			humanize.Comma(end.recount.Events), end.recount.Dates, end.took.Round(100*time.Millisecond))
	}
	return v
}

// rate returns the increase per second between the first sample and the last.
func rate(samples []sample, so func(sample) int64) float64 {
	first, last := samples[0], samples[len(samples)-1]
	return float64(so(last)-so(first)) / last.at.Sub(first.at).Seconds()
}

// most returns the peak. It ignores the first sample, which belongs to the previous third.
func most(samples []sample, value func(sample) int64) (peak int64) {
	for _, s := range samples[1:] {
		peak = max(peak, value(s))
	}
	return peak
}

func perSecond(rate float64) string { return humanize.CommafWithDigits(rate, 1) }

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
