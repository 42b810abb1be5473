// Package health is the one verdict on how things stand: `daymill status`, the page, the doctor, the alerts and the exit
// codes all take it from here.
//
// Each capability contributes checks over what it has read of itself, and knows nothing of the others'. [Judge] asks them
// by rank, so that what stops everything is said before what is late, and returns what they have found. The first finding
// is the verdict: whoever fixes it sees the next.
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

// Level says how grave a finding is.
type Level string

// The levels. Good and Busy need nothing; Wait needs a person some day, or time; Bad keeps dates from being right, or from
// being rolled up at all.
const (
	Good Level = "good"
	Busy Level = "busy"
	Wait Level = "wait"
	Bad  Level = "bad"
)

// Rank is the order in which checks are asked.
type Rank int

// The ranks, the gravest first.
const (
	Standstill Rank = iota // nothing is done at all
	Broken                 // something wants a person
	Behind                 // something is not done that should have been
	Working                // something is being done
	Well                   // nothing of that
)

// Check is one question of a capability's.
type Check struct {
	Name string // such as workers; stable, for programs
	Rank Rank
	// Judge returns what it has found, and whether that is anything.
	Judge func() (Finding, bool)
}

// Finding is an answer. Its sentence is the same for all who read it.
type Finding struct {
	Check    string `json:"check"`
	Level    Level  `json:"level"`
	Sentence string `json:"sentence"`          // what there is, and what fixes it
	Command  string `json:"command,omitempty"` // of the command line's, that fixes or shows it
	Link     Link   `json:"-"`                 // of the page that fixes or shows it
}

// Link is a page: the parts of its path, and its query. Its label is empty where there is no such page.
type Link struct {
	Label string
	Parts []string
	Query url.Values
}

// Judge asks every check, and returns what they have found, the verdict first. Checks of one rank are asked in the order
// in which they are given. It is empty where no check has found anything.
func Judge(contributions ...[]Check) []Finding {
	checks := slices.Concat(contributions...)
	slices.SortStableFunc(checks, func(a, b Check) int { return cmp.Compare(a.Rank, b.Rank) })
	var found []Finding
	for _, check := range checks {
		// That all is well is said where nothing else is.
		if check.Rank == Well && len(found) > 0 {
			break
		}
		if finding, is := check.Judge(); is {
			finding.Check = check.Name
			found = append(found, finding)
		}
	}
	return found
}

// Count is how many findings have a level.
func Count(findings []Finding, level Level) (n int) {
	for _, finding := range findings {
		if finding.Level == level {
			n++
		}
	}
	return n
}
