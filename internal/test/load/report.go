package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// report prints the results.
type report struct {
	out   io.Writer
	began time.Time
}

func newReport(out io.Writer) *report { return &report{out: out} }

// row prints a sample when it is taken.
func (r *report) row(before, after sample) {
	if r.began.IsZero() {
		r.began = before.at
		fmt.Fprintf(r.out, "%7s %9s %9s %8s %7s %11s %8s %9s %12s %11s %6s\n", "second", "events/s", "writes/s", "dates/s", "run ms",
			"satisfied/s", "lag s", "watch s", "memory MB", "dead rows", "conns")
	}
	rate := func(so func(sample) int64) float64 { return rate([]sample{before, after}, so) }
	memory := make([]string, 0, len(after.memory))
	for _, m := range after.memory {
		memory = append(memory, fmt.Sprintf("%.0f", float64(m)/(1<<20)))
	}
	dead := int64(0)
	for _, t := range after.tables {
		dead += t.dead
	}
	connections := 0
	for _, n := range after.connections {
		connections += n
	}
	fmt.Fprintf(r.out, "%7.0f %9.0f %9.0f %8.1f %7.0f %11.0f %8.1f %9.1f %12s %11s %6d\n",
		after.at.Sub(r.began).Seconds(), rate(func(s sample) int64 { return s.events }), rate(func(s sample) int64 { return s.transactions }),
		rate(func(s sample) int64 { return s.runs }),
		float64((after.worked-before.worked).Milliseconds())/float64(max(1, after.runs-before.runs)), rate(func(s sample) int64 { return s.satisfied }),
		after.lag.Seconds(), after.watchLag.Seconds(), strings.Join(memory, " "), humanize.Comma(dead), connections)
}

// tables prints how the tables changed: peaks of dead rows by thirds, and live rows and sizes at the end.
func (r *report) tables(samples []sample) {
	n := len(samples) - 1
	first, last := samples[0], samples[n]
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "table\tlive\tdead: 1st third\t2nd\t3rd\tMB at first\tat 1/3\tat 2/3\tat last\t\n")
	mb := func(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/(1<<20)) }
	for _, name := range tables() {
		dead := func(s sample) int64 { return s.tables[name].dead }
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, humanize.Comma(last.tables[name].live),
			humanize.Comma(most(samples[:n/3+1], dead)), humanize.Comma(most(samples[n/3:2*n/3+1], dead)),
			humanize.Comma(most(samples[2*n/3:], dead)), mb(first.tables[name].bytes),
			mb(samples[n/3].tables[name].bytes), mb(samples[2*n/3].tables[name].bytes), mb(last.tables[name].bytes))
	}
	_ = w.Flush() // It is the terminal.
	fmt.Fprintf(r.out, "\n%s transactions changed %s events and asked %s times for a date; %s runs satisfied %s requests\n",
		humanize.Comma(last.transactions), humanize.Comma(last.events), humanize.Comma(last.asked),
		humanize.Comma(last.runs-first.runs), humanize.Comma(last.satisfied-first.satisfied))
	peaks := map[string]int{}
	for _, s := range samples {
		for name, count := range s.connections {
			peaks[name] = max(peaks[name], count)
		}
	}
	names := make([]string, 0, len(peaks))
	for _, name := range slices.Sorted(maps.Keys(peaks)) {
		names = append(names, fmt.Sprintf("%s %d", name, peaks[name]))
	}
	fmt.Fprintf(r.out, "connections at most: %s\n", strings.Join(names, ", "))
}

// complaints prints the workers' warnings.
func (r *report) complaints(workers []*worker) error {
	for _, w := range workers {
		count, first, err := w.complaints()
		if err != nil {
			return err
		}
		if count > 0 {
			fmt.Fprintf(r.out, "%s has logged %d warnings, first:\n  %s\n", w.name, count, strings.Join(first, "\n  "))
		}
	}
	return nil
}

// verdicts prints the verdicts, and returns how many are bad.
func (r *report) verdicts(all []verdict) (bad int) {
	fmt.Fprintln(r.out, "\nthe last third of the time against the middle one")
	for _, v := range all {
		word := "ok"
		if !v.good {
			word = "BAD"
			bad++
		}
		fmt.Fprintf(r.out, "%-4s %-45s %s\n", word, v.what, v.why)
	}
	return bad
}
