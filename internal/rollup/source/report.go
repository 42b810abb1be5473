package source

import "fmt"

// Level says how grave a finding is.
type Level string

// The levels, from what is right to what keeps a run from being exact or gentle.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Failure Level = "failure"
)

// Finding is one thing that Check looked at.
type Finding struct {
	Level    Level
	Sentence string
	// Fix are the lines that set it right: statements to run, or advice. Empty where nothing is wrong.
	Fix []string
}

func (f *Finding) fix(lines ...string) { f.Fix = append(f.Fix, lines...) }

// Report is what Check found, in the order it looked.
type Report []Finding

// Failed reports whether any finding is a failure.
func (r *Report) Failed() bool { return r.Count(Failure) > 0 }

// Count is the number of findings of a level.
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
