package source

import "fmt"

// Level says how severe a finding is.
type Level string

// The levels, from a check that passed to a problem that makes runs inexact or slow.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Failure Level = "failure"
)

// Finding is the result of one check.
type Finding struct {
	Level    Level
	Sentence string
	// Fix says how to fix the problem, in lines: statements to run, or advice. Empty if nothing is wrong.
	Fix []string
}

func (f *Finding) fix(lines ...string) { f.Fix = append(f.Fix, lines...) }

// Report lists the findings of Check, in the order of its checks.
type Report []Finding

// Failed reports whether any finding is a failure.
func (r *Report) Failed() bool { return r.Count(Failure) > 0 }

// Count returns the number of findings of a level.
func (r *Report) Count(level Level) int {
	count := 0
	for _, finding := range *r {
		if finding.Level == level {
			count++
		}
	}
	return count
}

func (r *Report) addf(level Level, format string, arguments ...any) *Finding {
	*r = append(*r, Finding{Level: level, Sentence: fmt.Sprintf(format, arguments...)})
	return &(*r)[len(*r)-1]
}
