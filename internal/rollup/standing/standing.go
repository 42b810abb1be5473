// Package standing judges the state of the rollup. It contributes the rollup's checks to package health.
package standing

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/daymill/daymill/internal/date"
	"github.com/daymill/daymill/internal/health"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/presence"
	"github.com/daymill/daymill/internal/rollup/ledger"
	"github.com/daymill/daymill/internal/rollup/schedule"
	"github.com/daymill/daymill/internal/text"
)

// dailyLate is how old the daily job's last run may be: a day, an hour for a change of the clocks, and an hour to spare.
const dailyLate = 26 * time.Hour

// Facts holds what the checks need. [Read] reads the facts of the ledger, and the caller adds the others.
type Facts struct {
	Now     time.Time
	Today   date.Date
	States  map[string]ledger.StateCount
	Workers []presence.Worker // that are alive
	Daily   schedule.State
	Next    *time.Time // when the daily job is due; nil while it is paused or no worker is alive

	NoSource bool     // analytics.events reads nothing
	Others   bool     // the installation uses other capabilities, so it may not use the rollup
	NoEvents bool     // there are certainly no events
	Faults   []string // sentences about faults of what Daymill installed, and of the source
	// Missing lists dates that have events and are neither complete nor requested, as far as the caller has looked.
	Missing []date.Date
	// MissingOf says where the caller has looked, such as "2026"; empty means everywhere.
	MissingOf string
}

// Read reads the facts of the ledger.
func Read(ctx context.Context, conn *postgres.DB, zone *time.Location, now time.Time) (Facts, error) {
	facts := Facts{Now: now, Today: date.Of(now, zone), States: make(map[string]ledger.StateCount)}
	err := conn.Read(ctx, func(on postgres.DBTX) error {
		states, err := ledger.States(ctx, on)
		if err != nil {
			return err
		}
		for _, state := range states {
			facts.States[state.State] = state
		}
		facts.Workers, err = presence.List(ctx, on, presence.Alive)
		return err
	})
	if err != nil {
		return Facts{}, err
	}
	if facts.Daily, err = schedule.Read(ctx, conn); err != nil {
		return Facts{}, err
	}
	for _, worker := range facts.Workers {
		next := facts.Daily.Next(schedule.DailyOf(worker, zone), now)
		if next != nil && (facts.Next == nil || next.Before(*facts.Next)) {
			facts.Next = next
		}
	}
	return facts, nil
}

// Dates returns how many dates are in a state.
func (f Facts) Dates(state string) int64 { return f.States[state].Dates }

// Checks returns the rollup's checks.
func (f Facts) Checks() []health.Check {
	checks := []health.Check{
		{Name: "source", Rank: health.Standstill, Judge: f.source},
		{Name: "faults", Rank: health.Standstill, Judge: f.faults},
		{Name: "workers", Rank: health.Standstill, Judge: f.workers},
		{Name: "trouble", Rank: health.Standstill, Judge: f.trouble},
	}
	for _, state := range brokenStates() {
		checks = append(checks, health.Check{Name: state.name, Rank: health.Broken, Judge: func() (health.Finding, bool) { return f.broken(state) }})
	}
	return append(
		checks,
		health.Check{Name: "followers", Rank: health.Behind, Judge: f.followers},
		health.Check{Name: "daily_job_paused", Rank: health.Behind, Judge: f.paused},
		health.Check{Name: "daily_job_late", Rank: health.Behind, Judge: f.late},
		health.Check{Name: "retrying", Rank: health.Behind, Judge: f.retrying},
		health.Check{Name: "missing", Rank: health.Behind, Judge: f.missing},
		health.Check{Name: "running", Rank: health.Working, Judge: f.working},
		health.Check{Name: "complete", Rank: health.Well, Judge: f.well},
	)
}

func (f Facts) source() (health.Finding, bool) {
	return health.Finding{
		Level: health.Bad, Sentence: "No source of events is set: run `daymill source set`.",
		Command: "daymill source set",
	}, f.NoSource && len(f.Faults) == 0 && !f.unused() // The view that says whether a source is set may itself be missing.
}

// unused reports that the installation does not use the rollup, but other capabilities.
func (f Facts) unused() bool { return f.NoSource && f.Others && len(f.States) == 0 }

func (f Facts) faults() (health.Finding, bool) {
	if len(f.Faults) == 0 {
		return health.Finding{}, false
	}
	return health.Finding{
		Level: health.Bad, Sentence: "Daymill may miss events: " + f.Faults[0] + ".", Command: "daymill doctor",
		Link: health.Link{Label: "See what the doctor finds", Parts: []string{"doctor"}},
	}, true
}

func (f Facts) workers() (health.Finding, bool) {
	return health.Finding{
		Level:    health.Bad,
		Sentence: "No worker has been seen for two minutes, so nothing is rolled up: start `daymill worker`, or read its log.",
		Command:  "daymill worker",
	}, len(f.Workers) == 0
}

// trouble returns a finding if a worker has reported a problem.
func (f Facts) trouble() (health.Finding, bool) {
	for _, worker := range f.Workers {
		if worker.Trouble != "" {
			return health.Finding{
				Level: health.Bad, Sentence: "The worker " + worker.Name + " has a problem: " + worker.Trouble + ".",
				Command: "daymill doctor", Link: health.Link{Label: "See the workers", Parts: []string{"schedule"}},
			}, true
		}
	}
	return health.Finding{}, false
}

// followers returns a finding if a worker cannot read from one of its followers, and reads from another.
func (f Facts) followers() (health.Finding, bool) {
	for _, worker := range f.Workers {
		for _, follower := range worker.Followers {
			if follower.Problem != "" && worker.Trouble == "" {
				return health.Finding{
					Level: health.Wait, Sentence: "The worker " + worker.Name + " reads events from its other followers, because " + follower.String() + ".",
					Command: "daymill doctor", Link: health.Link{Label: "See the workers", Parts: []string{"schedule"}},
				}, true
			}
		}
	}
	return health.Finding{}, false
}

// brokenState is a state in which a date needs a person.
type brokenState struct {
	name      string
	level     health.Level
	one, many string // the state of one date or of several, and what to do
}

func brokenStates() []brokenState {
	return []brokenState{
		{
			"failed", health.Bad,
			"failed after all attempts: see why, and try again once the cause is fixed.",
			"failed after all attempts: see why, and try again once the cause is fixed.",
		},
		{"stale", health.Wait, "no longer matches its events: request it again.", "no longer match their events: request them again."},
		{
			"interrupted", health.Wait, "was interrupted and has no open request: request it again.",
			"were interrupted and have no open request: request them again.",
		},
		{
			"cancelled", health.Wait, "was cancelled, and stays so until somebody requests it.",
			"were cancelled, and stay so until somebody requests them.",
		},
		{
			"protected", health.Wait, "was skipped, because a rollup would erase metrics whose events are gone: see the date, and erase the metrics or leave them.",
			"were skipped, because a rollup would erase metrics whose events are gone: see the dates, and erase the metrics or leave them.",
		},
	}
}

func (f Facts) broken(state brokenState) (health.Finding, bool) {
	count := f.States[state.name]
	finding := health.Finding{
		Level: state.level, Sentence: text.Plural(count.Dates, "date") + " " + state.many, Command: "daymill status",
		Link: health.Link{Label: "See the dates", Parts: []string{"dates"}, Query: url.Values{"state": {state.name}}},
	}
	if count.Dates == 1 {
		day := count.First.String()
		finding.Sentence, finding.Link = day+" "+state.one, health.Link{Label: "See the date", Parts: []string{"dates", day}}
	}
	return finding, count.Dates > 0
}

func (f Facts) paused() (health.Finding, bool) {
	return health.Finding{
		Level: health.Wait, Sentence: "The daily job is paused: new dates are rolled up only if somebody requests them.",
		Link: health.Link{Label: "Go to the schedule", Parts: []string{"schedule"}},
	}, f.Daily.PausedAt != nil
}

func (f Facts) late() (health.Finding, bool) {
	if f.Daily.LastRunAt == nil || f.Daily.PausedAt != nil || f.Now.Sub(*f.Daily.LastRunAt) <= dailyLate {
		return health.Finding{}, false
	}
	return health.Finding{
		Level: health.Wait,
		Sentence: "The daily job last ran " + text.Duration(f.Now.Sub(*f.Daily.LastRunAt)) +
			" ago, so yesterday is not rolled up automatically: check the workers' log.",
		Link: health.Link{Label: "Go to the schedule", Parts: []string{"schedule"}},
	}, true
}

func (f Facts) retrying() (health.Finding, bool) {
	return health.Finding{
		Level:    health.Wait,
		Sentence: text.Plural(f.Dates("retrying"), "date") + " did not succeed at first and will be retried automatically.",
		Link:     health.Link{Label: "See why", Parts: []string{"dates"}, Query: url.Values{"state": {"retrying"}}},
	}, f.Dates("retrying") > 0
}

func (f Facts) missing() (health.Finding, bool) {
	overdue := f.overdue()
	of := ""
	if f.MissingOf != "" {
		of = " of " + f.MissingOf
	}
	sentence := text.Plural(overdue, "date") + of + " have events but are not rolled up"
	if overdue == 1 {
		sentence = "One date" + of + " has events but is not rolled up"
	}
	return health.Finding{
		Level: health.Wait, Sentence: sentence + ": the daily job will take them, or start a backfill now.", Command: "daymill backfill start",
		Link: health.Link{Label: "Start a backfill", Parts: []string{"backfills"}},
	}, overdue > 0
}

// overdue counts missing dates. It leaves out yesterday until today's daily job is due.
func (f Facts) overdue() int64 {
	n := int64(0)
	for _, day := range f.Missing {
		if day == f.Today.AddDays(-1) && f.Next != nil && f.Next.Sub(f.Now) < 24*time.Hour && date.Of(*f.Next, f.Next.Location()) == f.Today {
			continue
		}
		n++
	}
	return n
}

func (f Facts) working() (health.Finding, bool) {
	running, requested := f.Dates("running"), f.Dates("requested")
	return health.Finding{
		Level: health.Busy,
		Sentence: fmt.Sprintf("Work is in progress: %s being rolled up, %s waiting.",
			text.Plural(running, "date"), text.Number(requested)),
		Link: health.Link{Label: "See the jobs", Parts: []string{"jobs"}},
	}, running+requested > 0
}

func (f Facts) well() (health.Finding, bool) {
	complete := f.States["complete"]
	switch {
	case complete.Dates > 0:
		return health.Finding{
			Level:    health.Good,
			Sentence: fmt.Sprintf("All is well: %s complete, the last of them %s.", text.Plural(complete.Dates, "date"), complete.Last),
		}, true
	case f.unused():
		return health.Finding{Level: health.Good, Sentence: "All is well. No source of events is set, so no date is rolled up."}, true
	case f.Dates("waiting") > 0:
		return health.Finding{
			Level: health.Good, Sentence: "Requests are waiting until their dates are over, or until the time that they were made for.",
		}, true
	case f.NoEvents:
		return health.Finding{Level: health.Wait, Sentence: "There are no events yet: the first date is rolled up once it is over."}, true
	default:
		return health.Finding{
			Level: health.Wait, Sentence: "No date has been rolled up yet: the daily job will take the dates that have events, or start a backfill now.",
			Command: "daymill backfill start", Link: health.Link{Label: "Start a backfill", Parts: []string{"backfills"}},
		}, true
	}
}
