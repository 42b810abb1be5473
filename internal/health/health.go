// Package health decides the one verdict that `daymill status`, the page, the doctor, the alerts and the exit codes share.
//
// Each capability contributes checks of its own state, and knows nothing of the others. [Judge] runs the checks by rank, so that a
// problem that stops everything comes before one that delays something, and returns the findings. The first finding is the verdict;
// once it is fixed, the next one becomes the verdict.
//
//	rollup/standing ─┐
//	worker (queue)  ─┼─ checks ─▶ Judge ─▶ findings ─▶ status, page, doctor, /metrics
//	…               ─┘
package health

import (
	"cmp"
	"net/url"
	"slices"
)

// Level is the severity of a finding.
type Level string

// Levels. Good and Busy need no action; Wait needs time, or a person some day; Bad keeps dates from being right or from being
// rolled up at all.
const (
	Good Level = "good"
	Busy Level = "busy"
	Wait Level = "wait"
	Bad  Level = "bad"
)

// Rank is the order in which checks run.
type Rank int

// Ranks, most severe first.
const (
	Standstill Rank = iota // nothing is processed at all
	Broken                 // something needs a person
	Behind                 // something is late
	Working                // something is in progress
	Well                   // none of these
)

// Check is one question that a capability asks about itself.
type Check struct {
	Name string // such as workers; stable, for programs
	Rank Rank
	// Judge returns a finding, and whether there is one.
	Judge func() (Finding, bool)
}

// Finding is the result of a check. Every reader gets the same sentence.
type Finding struct {
	Check    string `json:"check"`
	Level    Level  `json:"level"`
	Sentence string `json:"sentence"`          // what is wrong, and what fixes it
	Command  string `json:"command,omitempty"` // the daymill command that fixes or shows it
	Link     Link   `json:"-"`                 // the page that fixes or shows it
	Rank     Rank   `json:"-"`                 // of the check
}

// Link is a page: the parts of its path and its query. The label is empty if there is no such page.
type Link struct {
	Label string
	Parts []string
	Query url.Values
}

// Judge runs every check and returns the findings, the verdict first. Checks of the same rank run in the given order. The
// result is empty if no check has found anything.
func Judge(contributions ...[]Check) []Finding {
	checks := slices.Concat(contributions...)
	slices.SortStableFunc(checks, func(a, b Check) int { return cmp.Compare(a.Rank, b.Rank) })
	var found []Finding
	for _, check := range checks {
		// Report that all is well only if there is no other finding.
		if check.Rank == Well && len(found) > 0 {
			break
		}
		if finding, is := check.Judge(); is {
			finding.Check, finding.Rank = check.Name, check.Rank
			found = append(found, finding)
		}
	}
	return found
}

// Count returns the number of findings of a level.
func Count(findings []Finding, level Level) (n int) {
	for _, finding := range findings {
		if finding.Level == level {
			n++
		}
	}
	return n
}
